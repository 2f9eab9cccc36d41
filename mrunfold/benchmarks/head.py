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
from mrunfold.operators import Sense, fft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.phantoms.folder import generate_folder
from mrunfold.problem import Problem, rescale

__all__ = ["head_block", "head_kspace", "head_problem", "head_slice", "write_head"]

NOISE = 0.01  # σ of the complex noise of a coil's image over the head's brightest tissue


@lru_cache(maxsize=1)
def _image(size: int) -> torch.Tensor:
    """Return a head of ellipses (`phantoms.folder`) with a slow phase, complex64 (y, x), at most 1."""
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as folder:
        options: dict[str, Any] = {"volumes": 1, "kind": "brain", "slices": 1, "max_coils": 1, "noise": 0.0}
        (path,) = generate_folder(Path(folder) / "head", size=size, **options)
        with open_scan(path) as scan:
            found = scan.reference(0)
    assert found is not None
    plane = torch.from_numpy(found)
    axis = torch.linspace(-1, 1, size)
    phase = 0.6 * axis[:, None] - 0.4 * axis + 0.8 * axis[:, None] * axis
    return torch.polar(plane / plane.max(), phase)


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
