"""HDF5 files written so that a disk that refuses is an error and no crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

__all__ = ["PatientFile", "new_h5"]


class PatientFile:
    """A file for HDF5 that never fails: it keeps the first error and takes what comes after it for written.

    HDF5 cannot close a file that it cannot write to: on a full disk it crashes the process, at exit too.
    So it is told that all is well, and `check` raises what really happened.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 (closed by new_h5)
        self._size = self._at = 0
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise the first error that writing met, if any."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (self._size if whence == 2 else 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        self._file.seek(self._at)
        return (self._file.read(size) or b"").ljust(size, b"\0")

    def write(self, data: memoryview) -> int:
        view = memoryview(data).cast("B")
        self._size = max(self._size, self._at + len(view))
        try:
            self._file.seek(self._at)
            done = 0
            while self._error is None and done < len(view):
                done += self._file.write(view[done:])
        except BaseException as error:  # Ctrl-C as well: it must not pass through HDF5
            self._error = self._error or error
        return len(view)

    def truncate(self, size: int) -> int:
        self._size = size
        try:
            if self._error is None:
                self._file.truncate(size)
        except BaseException as error:
            self._error = self._error or error
        return size

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self._file.close()


@contextmanager
def new_h5(path: Path) -> Iterator[tuple[h5py.File, PatientFile]]:
    """Give a new HDF5 file and what it is written through; OSError where the disk refuses, at the latest
    when it is closed.

    `PatientFile.check` raises earlier; call it after what takes long.
    """
    disk = PatientFile(path)
    try:
        with h5py.File(disk, "w") as file:
            yield file, disk
        disk.check()
    finally:
        disk.close()
