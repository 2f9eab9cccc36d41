"""The files that a scan is read from: what they are, whether they change, and their digest."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mrunfold.errors import InputError

__all__ = ["Stamp", "files_of", "open_regular", "read_text_file", "scan_digest", "sha256_of", "unchanged"]

BLOCK = 1 << 20
MAX_TEXT_BYTES = 16 << 20


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; InputError for a pipe, a device, a socket or a folder.

    A pipe has no end until somebody writes, and a device such as /dev/zero none at all.
    """
    # O_NONBLOCK: opening a pipe waits for its writer otherwise.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError(
                f"{os.fspath(path)} is no regular file but a folder, pipe or device; give a file"
            )
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_text_file(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """Return a text file's UTF-8; InputError for what is no regular file, too long or not UTF-8."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} is longer than the {limit // 1000} kB that are read of such a file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; write it anew") from None


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that a scan consists of: itself, or BART's pair by either name or their stem."""
    if path.suffix in (".cfl", ".hdr"):
        return path.with_suffix(".cfl"), path.with_suffix(".hdr")
    if not path.exists() and Path(f"{path}.hdr").exists():
        return Path(f"{path}.cfl"), Path(f"{path}.hdr")
    return (path,)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file's bytes, 64 hexadecimal digits."""
    return _digest((path,))


def scan_digest(path: Path) -> str:
    """Return the SHA-256 of a scan: of its file; for BART's pair of the .cfl followed by the .hdr."""
    return _digest(files_of(path))


def _digest(paths: tuple[str | os.PathLike[str], ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with open_regular(path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Stamp:
    """Of each file of a scan: device, inode, size, time of change of content and of the inode, in ns.

    The last cannot be set back by a program; the others tell a file that was put in another's place.
    """

    files: tuple[tuple[int, int, int, int, int], ...]

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Return the stamp of the scan at `path` as it is now; OSError where it cannot be looked at."""
        found = [os.stat(file) for file in files_of(path)]
        return cls(tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in found))


def unchanged(path: Path, stamp: Stamp, digest: str) -> None:
    """Raise InputError unless the scan is what it was when its stamp and digest were taken.

    The content is read again: memory-mapped writes reach the times late, network file systems any time.
    """
    try:
        same = Stamp.of(path) == stamp and scan_digest(path) == digest and Stamp.of(path) == stamp
    except OSError as error:
        raise InputError(
            f"{path}: is not there any more ({error.strerror}); run the same command again"
        ) from error
    if not same:
        raise InputError(f"{path}: changed while it was read; run the same command again")
