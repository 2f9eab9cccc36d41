"""Arrays that are larger than the memory they may take: in a scratch file, read and written in blocks."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.disk import PatientFile, new_h5

__all__ = ["BUDGET", "Scratch"]

BUDGET = 512 << 20  # bytes that an array may take in memory


class Scratch:
    """An array of zeros, complex64, in memory up to `budget` bytes, else in an HDF5 file without a name.

    chunks: what is read and written at once.  The file lies in the folder for temporary files (`TMPDIR`) and
    is gone with the process, however that ends (on Windows: once it is closed).  Raises InputError where that
    folder has not the room.
    """

    def __init__(self, shape: tuple[int, ...], chunks: tuple[int, ...], budget: int = BUDGET) -> None:
        self.shape = shape
        self.nbytes = 8 * math.prod(shape)
        self.on_disk = self.nbytes > budget
        self._stack = ExitStack()
        self._disk: PatientFile | None = None
        if not self.on_disk:
            self._array: np.ndarray | h5py.Dataset = np.zeros(shape, np.complex64)
            return
        folder = Path(tempfile.gettempdir())
        if (free := shutil.disk_usage(folder).free) < self.nbytes:
            raise InputError(
                f"the scratch file of this 3-D scan takes {self.nbytes / 1e9:.3g} GB and {folder} has "
                f"{free / 1e9:.3g} GB; set TMPDIR to a folder with more"
            )
        handle, name = tempfile.mkstemp(prefix="mrunfold-", suffix=".h5", dir=folder)  # for this user alone
        os.close(handle)
        self._stack.callback(_remove, Path(name))
        file, self._disk = self._stack.enter_context(new_h5(Path(name)))
        with contextlib.suppress(OSError):  # Windows keeps open files; elsewhere nothing is left by a kill
            os.unlink(name)
        size = tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
        self._array = file.create_dataset("array", shape, np.complex64, chunks=size)

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        self._array[where] = values
        if self._disk is not None:
            self._disk.check()

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self._array[where])

    def close(self) -> None:
        self._stack.close()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
