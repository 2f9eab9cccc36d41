"""Which reconstruction belongs to which target: files of one name in two folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mrunfold.errors import InputError

__all__ = ["Pairing", "pair_folders"]


SUFFIXES = (".h5", ".hdf5", ".mrd")  # in capitals too


@dataclass(frozen=True)
class Pairing:
    """Files of two folders by name, each in alphabetical order.

    pairs: (reconstruction, target) of one name; missing: names of targets without a reconstruction; extra:
    of reconstructions without a target.
    """

    pairs: tuple[tuple[Path, Path], ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def pair_folders(recons: Path, targets: Path) -> Pairing:
    """Pair the HDF5 files of two folders by name, whatever of SUFFIXES they end in; hidden files are none.

    InputError where a folder is not there or has no such file, both are one, or nothing pairs.
    """
    mine, theirs = _names(recons), _names(targets)
    both = sorted(mine.keys() & theirs.keys())
    if not both:
        raise InputError(
            f"no file of {recons.name} is named as one in {targets.name} ({mine[min(mine)].name}, "
            f"{theirs[min(theirs)].name}, …); "
            "a reconstruction is called as its target, NAME.h5"
        )
    return Pairing(
        tuple((mine[name], theirs[name]) for name in both),
        tuple(theirs[name].name for name in sorted(theirs.keys() - mine.keys())),
        tuple(mine[name].name for name in sorted(mine.keys() - theirs.keys())),
    )


def _names(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their names without suffix."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise InputError(f"{folder} {what}; give a folder of .h5 files")
    names: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.casefold() not in SUFFIXES or path.name[0] == "." or not path.is_file():
            continue
        if path.stem in names:
            raise InputError(
                f"{folder.name} holds {names[path.stem].name} and {path.name}: files are paired by name "
                "without its end; rename one"
            )
        names[path.stem] = path
    if not names:
        raise InputError(f"{folder} has no .h5 file; give the folder that holds NAME.h5")
    return names
