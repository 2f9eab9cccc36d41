"""Which reconstruction belongs to which target: files of one name in two folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mrunfold.errors import InputError

__all__ = ["Pairing", "pair_folders"]


@dataclass(frozen=True)
class Pairing:
    """Files of two folders by name, each in alphabetical order.

    names: in both; missing: targets without a reconstruction; extra: reconstructions without a target.
    """

    names: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def pair_folders(recons: Path, targets: Path) -> Pairing:
    """Pair the files `*.h5` of two folders by name; hidden files are none.

    InputError where a folder is not there or has no such file, both are one, or nothing pairs.
    """
    mine, theirs = _names(recons), _names(targets)
    both = mine & theirs
    if not both:
        raise InputError(
            f"no file of {recons.name} is named as one in {targets.name} ({min(mine)}, {min(theirs)}, …); "
            "a reconstruction is called as its target, NAME.h5"
        )
    return Pairing(tuple(sorted(both)), tuple(sorted(theirs - mine)), tuple(sorted(mine - theirs)))


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise InputError(f"{folder} {what}; give a folder of .h5 files")
    names = {p.name for p in folder.iterdir() if p.suffix == ".h5" and p.name[0] != "." and p.is_file()}
    if not names:
        raise InputError(f"{folder} has no .h5 file; give the folder that holds NAME.h5")
    return names
