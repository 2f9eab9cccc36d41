"""What is refused of an HDF5 file before anything of it is read or allocated.

External links, external storage and virtual datasets silently read other files; a file of 1.4 kB can declare
an array of 78 TiB.  Readers open files and find datasets through this module only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from mrunfold.errors import InputError
from mrunfold.io.source import open_regular

__all__ = ["MAX_SLICE_BYTES", "check_size", "find", "open_h5", "reading"]

MAX_SLICE_BYTES = 4 << 30  # 64 coils of 2048×2048 complex64 are 2 GiB
MAX_COMPRESSION = 1000  # deflate reaches about 1030:1, and k-space is noise
# What h5py raises when a file is broken: its own messages come as any of these.
BROKEN = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError, SystemError)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn what h5py raises on a broken file into one InputError; wrap h5py calls only."""
    try:
        yield
    except InputError:
        raise
    except BROKEN as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: cannot read {what}; the file is truncated or damaged, copy it again ({reason})"
        ) from error


def open_h5(path: Path) -> h5py.File:
    """Open an HDF5 file read-only, or raise InputError."""
    try:
        open_regular(path).close()  # HDF5 would wait for the writer of a pipe
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
    with reading(path, "it as HDF5"):
        try:
            return h5py.File(path, "r")
        except OSError as error:
            if "lock file" not in str(error):  # a truncated file has an "sblock" in its message
                raise
            raise InputError(
                f"{path}: is locked: another program writes to it, or its file system has no locks; close "
                "that program, or set HDF5_USE_FILE_LOCKING=FALSE"
            ) from error


def find(path: Path, parent: h5py.Group, name: str) -> h5py.Dataset | h5py.Group | None:
    """Return the dataset or group `name` directly in `parent`, None where there is none.

    Raises InputError where it is a soft or external link, a virtual dataset or stored in another file.
    """
    with reading(path, f"'{name}'"):
        link = parent.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
            raise InputError(
                f"{path}: '{name}' is {kind}; only data inside the file is read, copy it in first"
            )
        found = parent[name]
        if isinstance(found, h5py.Dataset):
            # Asked here, where a damaged description becomes an InputError; readers may rely on it.
            if (found.shape, found.dtype, found.chunks)[0] is None:
                raise InputError(f"{path}: '{name}' is empty; nothing was written to it")
            if found.is_virtual or found.external:
                kind = "a virtual dataset" if found.is_virtual else "stored in external files"
                raise InputError(
                    f"{path}: '{name}' is {kind}; only data inside the file is read, copy it in first"
                )
            return found
        return found if isinstance(found, h5py.Group) else None


def check_size(path: Path, dataset: h5py.Dataset, slices: int = 1) -> None:
    """Raise InputError where a declared size cannot be true, or one of `slices` is too large to read."""
    with reading(path, f"'{dataset.name}'"):
        declared = dataset.size * dataset.dtype.itemsize if dataset.shape else 0
        file_size = os.path.getsize(path)
        limit = file_size * (MAX_COMPRESSION if dataset.chunks else 1)
        chunk = dataset.dtype.itemsize
        for length in dataset.chunks or ():
            chunk *= length
    if declared > limit:
        raise InputError(
            f"{path}: '{dataset.name}' declares {_bytes(declared)} but the file has {_bytes(file_size)}; "
            "it is truncated or not what it says"
        )
    one = max(declared // max(slices, 1), chunk if dataset.chunks else 0)
    if one > MAX_SLICE_BYTES:
        raise InputError(
            f"{path}: one slice of '{dataset.name}' needs {_bytes(one)}, more than the "
            f"{_bytes(MAX_SLICE_BYTES)} allowed; split it"
        )


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} PB"
