"""Fully sampled slices to measure on: any raw file mrunfold reads, and the .mat files of public data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.scan import Header
from mrunfold.operators import fft2c
from mrunfold.phantoms.coils import simulated_maps

__all__ = ["FullSlice", "full_slices", "scanned"]


@dataclass(frozen=True)
class FullSlice:
    """One fully sampled slice: k-space complex64 (coil, readout, phase), and where it comes from."""

    name: str
    kspace: np.ndarray
    header: Header
    simulated: bool


def full_slices(path: Path, coils: int = 8, sigma: float = 0.01) -> Iterator[FullSlice]:
    """Yield the slices of a raw file, of a .mat file, or of a folder of either.

    In a .mat file `raw`, `data` or `kdata` is k-space and `Img` a complex image.

    A complex image is scanned by `coils` simulated coils with noise of standard deviation `sigma` × its 99th
    percentile, seeded by its name, and marked simulated.  Raises InputError for anything else.
    """
    if path.is_dir():
        for file in sorted(p for p in path.iterdir() if p.suffix in (".mat", ".h5", ".cfl")):
            for piece in full_slices(file, coils, sigma):
                yield replace(piece, name=f"{path.name}/{piece.name}")
    elif path.suffix == ".mat":
        yield _from_mat(path, coils, sigma)
    else:
        with open_scan(path) as scan:
            for index in range(len(scan)):
                kspace = scan.kspace(index)
                if not scan.acquired(index).all():
                    raise InputError(
                        f"{path.name}: slice {index} is not fully sampled, there is no reference"
                    )
                yield FullSlice(f"{path.stem}/{index}", kspace, scan.header, scan.header.simulated)


def _from_mat(path: Path, coils: int, sigma: float) -> FullSlice:
    content = _read_mat(path)
    name = next((n for n in ("raw", "data", "kdata", "Img") if n in content), None)
    if name is None:
        raise InputError(f"{path.name} has none of raw, data, kdata (k-space) or Img (a complex image)")
    data = np.squeeze(np.asarray(content[name])).astype(np.complex64)
    if name == "Img":
        return scanned(data, path.stem, coils, sigma)
    kspace = data if data.ndim == 3 else data[None]
    return FullSlice(path.stem, kspace, _header(kspace.shape[1:], len(kspace), False), False)


def _read_mat(path: Path) -> dict[str, Any]:
    import h5py
    import scipy.io

    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if not h5py.is_hdf5(path):
        return dict(scipy.io.loadmat(path))
    with h5py.File(path, "r") as h5:
        arrays = {name: np.asarray(h5[name]) for name in h5}
    return {n: a["real"] + 1j * a["imag"] if a.dtype.names else a for n, a in arrays.items()}


def _header(matrix: tuple[int, ...], coils: int, simulated: bool) -> Header:
    size = (matrix[0], matrix[1])
    return Header("cfl", 1, coils, size, size[0], size, simulated=simulated)


def scanned(image: np.ndarray, name: str, coils: int = 8, sigma: float = 0.01) -> FullSlice:
    """Return a simulated scan of a complex image (y, x), marked so, seeded by its name; as `full_slices`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(image / np.percentile(np.abs(image), 99))
    full = fft2c(simulated_maps(coils, (x.shape[0], x.shape[1]), generator) * x)
    full = full + sigma * torch.randn(full.shape, dtype=full.dtype, generator=generator)
    return FullSlice(name, full.numpy(), _header(image.shape, coils, True), True)
