"""A simulated scan of a head of any size, for benchmarks of speed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.io import open_scan
from mrunfold.io.cfl import write_cfl
from mrunfold.io.cfl_dims import COIL, SLICE
from mrunfold.operators import Sense, fft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.phantoms.folder import generate_folder
from mrunfold.problem import Problem, rescale

__all__ = ["head_block", "head_kspace", "head_problem", "head_slice", "write_head", "write_volume"]

NOISE = 0.01  # σ of the complex noise of a coil's image over the head's brightest tissue


@lru_cache(maxsize=1)
def _image(size: int) -> torch.Tensor:
    """Return a head of ellipses (`phantoms.folder`) with a slow phase, complex64 (y, x), at most 1."""
    return _images(size, 1)[0]


def _images(size: int, slices: int) -> torch.Tensor:
    """Return slices of that head, complex64 (slice, y, x), the brightest pixel of all at 1."""
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as folder:
        options: dict[str, Any] = {"volumes": 1, "kind": "brain", "max_coils": 1, "noise": 0.0}
        (path,) = generate_folder(Path(folder) / "head", size=size, slices=slices, **options)
        with open_scan(path) as scan:
            found = [scan.reference(index) for index in range(slices)]
    planes = torch.stack([torch.from_numpy(plane) for plane in found if plane is not None])
    assert len(planes) == slices
    axis = torch.linspace(-1, 1, size)
    phase = 0.6 * axis[:, None] - 0.4 * axis + 0.8 * axis[:, None] * axis
    return torch.polar(planes / planes.max(), phase.expand(planes.shape))


def _kspace(coils: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return fully sampled k-space and the maps, both (coil, y, x)."""
    generator = torch.Generator().manual_seed(0)
    maps = simulated_maps(coils, (size, size), generator)
    kspace = fft2c(maps * _image(size))
    noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    return kspace + NOISE * noise, maps


def head_kspace(coils: int, size: int) -> np.ndarray:
    """Return its k-space, fully sampled, complex64 (coil, y, x)."""
    return _kspace(coils, size)[0].numpy()


def write_head(folder: Path, coils: int, size: int) -> Path:
    """Write the scan, fully sampled, coils×size×size, as a BART pair in `folder` and return its .cfl."""
    kspace, _ = _kspace(coils, size)
    write_cfl(folder / "head", kspace.permute(1, 2, 0)[:, :, None].numpy())
    return folder / "head.cfl"


def write_volume(folder: Path, coils: int, size: int, slices: int) -> Path:
    """Write slices of the head with the same coils, fully sampled, as a BART pair and return its .cfl.

    One slice is in memory at a time.
    """
    generator = torch.Generator().manual_seed(0)
    maps = simulated_maps(coils, (size, size), generator)
    dims = [size, size, 1, coils, *[1] * (SLICE - COIL - 1), slices, 1, 1]
    (folder / "volume.hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n", encoding="ascii")
    with open(folder / "volume.cfl", "wb") as file:
        for image in _images(size, slices):
            noise = torch.randn(maps.shape, dtype=maps.dtype, generator=generator)
            kspace = fft2c(maps * image) + NOISE * noise
            file.write(kspace.transpose(1, 2).contiguous().numpy().tobytes())  # the readout is fastest
    return folder / "volume.cfl"


def head_slice(coils: int, size: int) -> FullSlice:
    """Return the same scan in memory."""
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as folder:
        path = write_head(Path(folder), coils, size)
        with open_scan(path) as scan:
            return FullSlice("head/0", scan.kspace(0), replace(scan.header, simulated=True), True)


def head_block(coils: int, size: int, width: int = 24) -> np.ndarray:
    """Return the calibration region of the scan, (coil, width, width)."""
    kspace, _ = _kspace(coils, size)
    middle = slice(size // 2 - width // 2, size // 2 - width // 2 + width)
    return kspace[:, middle, middle].numpy()


def head_problem(coils: int, size: int, slices: int | None = None, accel: float = 8.0) -> Problem:
    """Return the problem at a Poisson mask with the maps that made it; slices: a batch of equals, or None."""
    from mrunfold.masks import draw

    kspace, maps = _kspace(coils, size)
    mask = torch.from_numpy(draw("poisson", (size, size), accel, seed=0).array.copy())
    A = Sense(maps[None], mask)
    y, sigma_y, scale = rescale(A.mask[..., None, :, :] * kspace, A, torch.tensor(NOISE))
    if slices is None:
        return Problem(y, A, sigma_y, scale)
    many = Sense(maps[None].expand(slices, 1, *maps.shape), A.mask.expand(slices, size, size))
    return Problem(y.expand(slices, *y.shape).clone(), many, sigma_y.expand(slices), scale.expand(slices))
