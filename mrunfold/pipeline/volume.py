"""recon.h5: fastMRI's `reconstruction`, written slice by slice, with where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.export.record import plain

__all__ = ["VolumeWriter", "open_writer", "read_slices"]


class _Disk:
    """A file for HDF5 that never fails: it keeps the first error and takes what comes after it for written.

    HDF5 cannot close a file that it cannot write to: on a full disk it crashes the process, at exit too.
    So it is told that all is well, and `check` raises what really happened.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 (closed by open_writer)
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


class VolumeWriter:
    """Datasets (slice, readout, phase) float32 in the file's own scale, made when the first slice comes."""

    def __init__(self, file: Any, disk: _Disk, slices: int, shape: tuple[int, int]) -> None:
        self._file, self._disk = file, disk
        self._shape = (slices, *shape)
        self._described: dict[str, Any] = {}

    def put(self, name: str, place: int, image: np.ndarray) -> None:
        """Write a slice of dataset `name`; OSError where the disk refuses, ValueError for another shape."""
        data = np.ascontiguousarray(image, np.float32)
        if data.shape != self._shape[1:]:
            raise ValueError(f"a slice of {name} is {self._shape[1:]}, got {data.shape}")
        if name not in self._file:
            # One slice a chunk; fastMRI's readers and graders need no filter.
            self._file.create_dataset(name, self._shape, np.float32, chunks=(1, *self._shape[1:]))
        # Past HDF5's cache, which places a chunk whenever it is emptied: files are to be equal, bit for bit.
        self._file[name].id.write_direct_chunk((place, 0, 0), data.tobytes())
        self._disk.check()

    def describe(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes of the file: text and numbers as they are, everything else as JSON."""
        self._described.update(plain(attributes))
        for name, value in attributes.items():
            simple = isinstance(value, (str, int, float, bool))
            self._file.attrs[name] = value if simple else json.dumps(plain(value), ensure_ascii=False)
        self._disk.check()

    def finish(self) -> None:
        """Write all that was described once more, as the bytes of one JSON text in the dataset `provenance`.

        Attributes of text are for people; HDF5 crashes on damaged ones, so nothing that is trusted is read
        from them.
        """
        text = json.dumps(self._described, ensure_ascii=False).encode()
        self._file["provenance"] = np.frombuffer(text, np.uint8)
        self._disk.check()


@contextmanager
def open_writer(path: Path, slices: int, shape: tuple[int, int]) -> Iterator[VolumeWriter]:
    """Give a VolumeWriter of a new file; OSError where the disk refuses, at the latest when it is closed."""
    import h5py

    disk = _Disk(path)
    try:
        with h5py.File(disk, "w") as file:
            writer = VolumeWriter(file, disk, slices, shape)
            yield writer
            writer.finish()
        disk.check()
    finally:
        disk.close()


def read_slices(path: Path, name: str, places: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield slices of a dataset of recon.h5, one in memory at a time."""
    import h5py

    with h5py.File(path, "r") as file:
        for place in places:
            yield file[name][place]
