"""A folder of results that appears whole or not at all."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from mrunfold.errors import InputError
from mrunfold.io.atomic import beside

__all__ = ["check_target", "result_folder"]

# What a result folder may hold: only such a folder is ever replaced.  A star takes folders in as well.
OURS = (
    "recon.h5", "recon*.nii.gz", "std*.nii.gz", "quantile_*.nii.gz", "preview.png", "record.json",
    "dicom/*.dcm", "export.json", "SHA256SUMS",
)  # fmt: skip


def check_target(final: Path, overwrite: bool, ours: Sequence[str] = OURS) -> None:
    """Raise InputError unless results may be written to `final`: it is free, or a result and `overwrite`.

    A folder that holds anything but earlier results, which `ours` describes, is never replaced.
    """
    if not final.name:
        raise InputError(f"{final} cannot be a folder of results; give `out` a new folder's name")
    if not final.exists() and not final.is_symlink():
        return
    if final.is_symlink() or not final.is_dir():
        raise InputError(f"{final} exists and is not a folder; choose another `out`")
    names = [
        p.relative_to(final).as_posix() for p in sorted(final.rglob("*")) if p.is_symlink() or not p.is_dir()
    ]
    foreign = [name for name in names if not any(fnmatch.fnmatchcase(name, known) for known in ours)]
    if foreign:
        raise InputError(
            f"{final} holds files that are not results of mrunfold ({', '.join(foreign[:3])}); "
            "choose another `out`, it will not be replaced"
        )
    if any(final.iterdir()) and not overwrite:
        raise InputError(f"{final} exists already; add `overwrite` to replace it or choose another `out`")


@contextlib.contextmanager
def result_folder(final: Path, overwrite: bool = False, ours: Sequence[str] = OURS) -> Iterator[Path]:
    """Give an empty folder beside `final` that becomes `final` when the block ends without an exception.

    On any exception, Ctrl-C included, it is removed with the parent folders made for it, and what was at
    `final` before stays.  Raises InputError as `check_target` does, OSError as the system does.
    """
    check_target(final, overwrite, ours)
    made = _make_parents(final.parent)
    work = None
    try:
        work = _beside(final, ".part")
        yield work
        _sync(work)
        with _uninterrupted():
            _replace(work, final)
    except BaseException as error:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            # Users know the folder that they asked for, not the hidden one that it is made in.
            error.filename = re.sub(
                rf"\.{re.escape(final.name)}\.[0-9a-f]{{8}}\.part", final.name, error.filename
            )
        with _uninterrupted():
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
        raise


def _sync(folder: Path) -> None:
    """Have the disk take the files: some file systems say only then that they are full."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _make_parents(folder: Path) -> list[Path]:
    """Make the missing folders up to `folder` and return them, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing[::-1]


def _replace(work: Path, final: Path) -> None:
    old = None
    if final.exists():
        old = _beside(final, ".old")
        final.rename(old / final.name)
    try:
        work.rename(final)
    except OSError:
        if old is not None:
            (old / final.name).rename(final)
            old.rmdir()
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _beside(final: Path, suffix: str) -> Path:
    """Make an empty folder with an unused hidden name next to `final`."""
    path = beside(final, ".", f".{uuid.uuid4().hex[:8]}{suffix}")
    path.mkdir()
    return path


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C off while files are being moved or removed; only the main thread hears it anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
