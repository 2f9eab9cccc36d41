"""SHA256SUMS: one line a file, in the format that `sha256sum --check` reads."""

from __future__ import annotations

import re
from pathlib import Path

from mrunfold.errors import InputError
from mrunfold.io import sha256_of
from mrunfold.io.source import read_text_file

__all__ = ["SUMS", "check_sums", "read_sums", "write_sums"]

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """Write the sha256 of every file below `folder` into its SHA256SUMS."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that the SHA256SUMS of `folder` lists, by its path in there.

    Raises InputError where there is none or it is damaged.
    """
    try:
        text = read_text_file(folder / SUMS)
    except FileNotFoundError:
        raise InputError(f"{folder}: no {SUMS} in it; give a folder that `mrunfold export` wrote") from None
    matches = [LINE.fullmatch(line) for line in text.splitlines()]
    if not matches or None in matches or not text.endswith("\n"):
        raise InputError(f"{folder / SUMS} is damaged; export again")
    return {match[2]: match[1] for match in matches if match}


def check_sums(folder: Path) -> int:
    """Return how many files of `folder` are as its SHA256SUMS says.

    Raises InputError where one has changed, is missing or is not listed.
    """
    listed = read_sums(folder)
    found = _files(folder)
    for what, names in (
        ("missing", sorted(set(listed) - set(found))),
        ("not listed", sorted(set(found) - set(listed))),
        ("changed", [name for name in found if name in listed and sha256_of(folder / name) != listed[name]]),
    ):
        if names:
            raise InputError(f"{folder}: {len(names)} files {what} ({', '.join(names[:3])}); export again")
    return len(listed)


def _files(folder: Path) -> list[str]:
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or p.is_file())
    # Lists of what was pushed lay in the folder once; they are no part of an export.
    return sorted(
        name for name in names if name != SUMS and not name.endswith((".push.jsonl", ".push.jsonl.lock"))
    )
