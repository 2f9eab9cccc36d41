"""Public data sets whose HDF5 files have k-space in an order of their own, as their documentation has it.

CMRxRecon (https://cmrxrecon.github.io/2025/Data.html): MATLAB 7.3, (x, y, coil, slice, frame) to MATLAB.
Calgary-Campinas (https://sites.google.com/view/calgary-campinas-dataset, Souza et al., NeuroImage 170:482,
2018): real (x, ky, kz, 2·coil), real and imaginary parts in turn, x transformed already, no FFT shift.
SKM-TEA (https://github.com/StanfordMIMI/skm-tea, Desai et al., NeurIPS 2021): (x, ky, kz, echo, coil), x
transformed already, beside `maps` and `target`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.frames import Frames
from mrunfold.io.hdf5 import check_size, find, open_h5, reading
from mrunfold.io.scan import Header, Scan, refuse_not_finite

__all__ = ["LayoutScan", "layout_of"]

CMR_NAMES = (
    "kspace_full",
    "kspace_sub04",
    "kspace_sub08",
    "kspace_sub10",
    "kspace_single_full",
    "kspace",
    "kus",
)
LEAST_SIDE = 16  # samples of k-space along an axis; fewer are coils, echoes or frames


@dataclass(frozen=True)
class Layout:
    """How one dataset holds k-space.

    name: of the data set; dataset: of the file; slices, coils, matrix: as in `Header`; read: gives a slice,
    complex (coil, readout, phase); note: which axes were taken; labels: of frames, each of which has
    slices / frames images, where there are several.
    """

    name: str
    dataset: h5py.Dataset
    slices: int
    coils: int
    matrix: tuple[int, int]
    read: Callable[[Any, int], np.ndarray]
    note: str
    labels: tuple[dict[str, float], ...] = ()


def layout_of(path: Path, file: h5py.File) -> Layout | None:
    """Return the layout of a file of one of these data sets, None where it is of none."""
    with reading(path, "its contents"):
        names = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    for look in (_cmrxrecon, _calgary, _skm_tea):
        found = look(path, file, names)
        if found is not None:
            return found
    return None


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset | None:
    found = find(path, file, name)
    return found if isinstance(found, h5py.Dataset) else None


def _cmrxrecon(path: Path, file: h5py.File, names: list[str]) -> Layout | None:
    name = next((n for n in names if n in CMR_NAMES or n.startswith("kspace_sub")), None)
    data = _dataset(path, file, name) if name else None
    if data is None or set(data.dtype.names or ()) != {"real", "imag"} or data.ndim not in (4, 5):
        return None
    # MATLAB's axes come reversed: (frame, slice, coil, y, x); without coils or frames there are four.
    single = "single" in str(name)
    if data.ndim == 5 and single:
        return None
    frames = 1 if data.ndim == 4 and not single else data.shape[0]
    slices = data.shape[0 if data.ndim == 4 and not single else 1]
    coils = 1 if single else data.shape[-3]
    y, x = data.shape[-2:]
    if min(y, x) < LEAST_SIDE:
        return None

    def read(stored: Any, index: int) -> np.ndarray:
        one = stored[divmod(index, slices) if stored.ndim == 5 or single else index]
        kspace = np.asarray(one["real"]) + np.complex64(1j) * np.asarray(one["imag"])
        return kspace.reshape(coils, y, x).swapaxes(-1, -2)

    axes = ["slice", "y", "x"] if single else ["slice", "coil", "y", "x"]
    words = ", ".join(axes if data.ndim == len(axes) else ["frame", *axes])
    note = f"CMRxRecon's layout: '{name}' is taken as ({words}), x as the readout"
    labels = tuple({"frame": float(n)} for n in range(frames)) if frames > 1 else ()
    return Layout("cmrxrecon", data, frames * slices, coils, (x, y), read, note, labels)


def _calgary(path: Path, file: h5py.File, names: list[str]) -> Layout | None:
    data = _dataset(path, file, "kspace") if "kspace" in names else None
    if data is None or data.dtype.kind != "f" or data.ndim != 4 or data.shape[-1] % 2:
        return None
    slices, ky, kz, parts = data.shape
    if min(ky, kz) < LEAST_SIDE or parts > 128 or parts >= min(ky, kz):
        return None

    def read(stored: Any, index: int) -> np.ndarray:
        one = np.asarray(stored[index])  # (ky, kz, 2·coil)
        return np.moveaxis(one[..., ::2] + np.complex64(1j) * one[..., 1::2], -1, 0)

    note = "Calgary-Campinas' layout: 'kspace' is taken as (x, ky, kz, parts of each coil in turn)"
    return Layout("calgary-campinas", data, slices, parts // 2, (ky, kz), read, note)


def _skm_tea(path: Path, file: h5py.File, names: list[str]) -> Layout | None:
    data = _dataset(path, file, "kspace") if {"kspace", "maps", "target"} <= set(names) else None
    if data is None or data.dtype.kind != "c" or data.ndim != 5:
        return None
    x, ky, kz, echoes, coils = data.shape
    if min(ky, kz) < LEAST_SIDE:
        return None

    def read(stored: Any, index: int) -> np.ndarray:
        echo, place = divmod(index, x)
        return np.moveaxis(np.asarray(stored[place, :, :, echo]), -1, 0)

    note = "SKM-TEA's layout: 'kspace' is taken as (x, ky, kz, echo, coil)"
    labels = tuple({"contrast": float(n)} for n in range(echoes)) if echoes > 1 else ()
    return Layout("skm-tea", data, x * echoes, coils, (ky, kz), read, note, labels)


class LayoutScan(Scan):
    """A file of one of the data sets above; where its slices lie and how large a pixel is it does not say.

    Raises InputError for a size that cannot be true.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_h5(path)
        try:
            layout = layout_of(path, self._file)
            if layout is None:
                raise InputError(f"{path}: is not of a data set that is known by its layout")
            check_size(path, layout.dataset, layout.slices)
        except BaseException:
            self._file.close()
            raise
        self._layout = layout
        self.header = Header(
            format=layout.name,
            slices=layout.slices,
            coils=layout.coils,
            matrix=layout.matrix,
            unoversampled=layout.matrix[0],
            crop=layout.matrix,
            notes=(layout.note,),
            frames=Frames.grid(labels, layout.slices // len(labels)) if (labels := layout.labels) else None,
        )

    def kspace(self, index: int) -> np.ndarray:
        index = self._index(index)
        with reading(self.path, f"slice {index} of '{self._layout.dataset.name[1:]}'"):
            kspace = self._layout.read(self._layout.dataset, index)
        kspace = np.ascontiguousarray(kspace, dtype=np.complex64)
        refuse_not_finite(self.path, kspace, index)
        return kspace

    def acquired(self, index: int) -> np.ndarray:
        return (self.kspace(index) != 0).any(axis=0)

    def close(self) -> None:
        self._file.close()
