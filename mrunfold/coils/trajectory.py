"""k-space off the grid: density compensation, coil images by least squares, noise and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mrunfold.coils.edge import robust_covariance
from mrunfold.coils.noise import NoiseModel
from mrunfold.errors import InputError
from mrunfold.operators import Nufft, fft2c

__all__ = [
    "CoilFit", "calibration_of", "calibration_width", "dense_width", "density_weights", "fit_coils",
    "noise_off_grid",
]  # fmt: skip

SHIFT = 1e-3  # of the least squares: pixels that nothing measures stay 0
STEPS = 15
PIPE_STEPS = 12
OUTER = (0.7, 0.5, 0.35)  # of the largest |k|: farther out there is less signal, and less to go wrong
SPARE = 0.1  # of a sample's noise must be left by the fit: with less it says nothing of it
EDGE = 0.95  # of the largest |k|, where it does not
DENSE = 0.8  # of the weight of an isolated sample: below it the neighbourhood is fully sampled


def density_weights(trajectory: np.ndarray, kept: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Return how much each sample counts, float32 (*m) from 0 to 1: its share of a cell of k-space.

    trajectory: (*m, 2), cycles per field of view; kept: bool (*m), 0 elsewhere; matrix: (y, x).  Where
    samples are closer than the field of view needs, each counts for less; one by itself counts 1:
    Σ_i w_i |D(k_i − k_j)|² = 1 at each sample j, D the transform of the field of view.  ‖A‖² is then 1 where
    samples are dense, and below 2 elsewhere.  Pipe and Menon's iteration (Magn. Reson. Med. 41 (1999)) with
    the kernel of Johnson and Pipe (Magn. Reson. Med. 61 (2009)).  SigPy's has a narrower kernel, which counts
    isolated samples and the rim too much.
    """
    packed = np.ascontiguousarray(trajectory[kept], dtype=np.float32)
    if not len(packed):
        raise InputError("no sample of the trajectory is kept; lower the acceleration")
    weights = np.zeros(kept.shape, np.float32)
    weights[kept] = _weights(packed.tobytes(), matrix)
    return weights


@lru_cache(maxsize=8)
def _weights(packed: bytes, matrix: tuple[int, int]) -> np.ndarray:
    import finufft

    points = np.frombuffer(packed, np.float32).reshape(-1, 2)
    radians = [np.ascontiguousarray(points[:, a] * np.float32(2 * np.pi / n)) for a, n in enumerate(matrix)]
    doubled = (2 * matrix[0], 2 * matrix[1])
    overlap = np.outer(*((n - np.abs(np.arange(-n, n))) / n**2 for n in matrix)).astype(np.float32)
    weights = np.ones(len(points), np.float32)
    for _ in range(PIPE_STEPS):
        spectrum = finufft.nufft2d1(*radians, weights.astype(np.complex64), doubled, isign=1, eps=1e-5)
        sums = finufft.nufft2d2(*radians, spectrum * overlap, isign=-1, eps=1e-5).real
        weights /= np.maximum(sums, np.finfo(np.float32).tiny)
    return np.minimum(weights, 1).astype(np.float32)


@dataclass(frozen=True)
class CoilFit:
    """images: complex64 (coil, y, x), least squares of each coil's samples; residual: complex64 (coil, *m),
    of the samples without weights, 0 where none is kept; outer: the samples, bool (*m), that noise is taken
    from; spare: what the same fit leaves of white noise there, a share of its energy."""

    images: Tensor
    residual: np.ndarray
    spare: float
    outer: np.ndarray


def fit_coils(
    kspace: np.ndarray, trajectory: np.ndarray, weights: np.ndarray, matrix: tuple[int, int]
) -> CoilFit:
    """Return argmin_x Σ_j w_j|y_j − (Fx)_j|² + SHIFT‖x‖² of each coil of k-space (coil, *m)."""
    ones = torch.ones((1, 1, *matrix), dtype=torch.complex64)
    w = torch.from_numpy(weights)
    A = Nufft(ones, torch.from_numpy(np.asarray(trajectory, np.float32)), w)
    radius = np.linalg.norm(trajectory, axis=-1)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, *weights.shape, dtype=torch.complex64, generator=generator)
    given = torch.cat([torch.from_numpy(np.ascontiguousarray(kspace)), noise])
    images, left = [], []
    for y in given:  # one coil at a time: memory
        x, residual = _fit(A, y[None], w)
        images.append(x[0])
        left.append(residual[0])
    left_of_noise, given_noise = left.pop().abs().square(), noise[0].abs().square()
    for share in OUTER:  # as far out as samples leave something
        outer = (weights > 0) & (radius >= share * radius[weights > 0].max())
        spare = float(left_of_noise[outer].sum() / given_noise[outer].sum())
        if spare >= SPARE:
            break
    return CoilFit(torch.stack(images[:-1]), torch.stack(left).numpy(), spare, outer)


def _fit(A: Nufft, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    root = w.sqrt()
    x = A.solve(A.adjoint(root * y), 1.0, SHIFT, tolerance=1e-4, max_iterations=STEPS)
    fitted = A(x)
    return x, torch.where(w > 0, y - fitted / root.clamp_min(1e-6), torch.zeros_like(y))


def noise_off_grid(
    kspace: np.ndarray, fit: CoilFit, trajectory: np.ndarray, weights: np.ndarray
) -> NoiseModel:
    """Return the noise of k-space (coil, *m): what an image of the field of view cannot explain of it.

    Samples lie closer than the field of view needs, along a readout at least: what they do not share is
    noise.  The fit takes a part of the noise too; how much is told by fitting noise (`CoilFit.spare`).  Where
    it takes nearly all, the outermost samples are taken for noise, which may hold signal (`profile`).
    """
    if not kspace.any():
        return NoiseModel(np.eye(len(kspace), dtype=np.complex128), "none", 0)
    if fit.spare >= SPARE:
        left = fit.residual[:, fit.outer] / np.sqrt(fit.spare)
        return NoiseModel(robust_covariance(left), "samples closer than needed", left.shape[1])
    radius = np.linalg.norm(trajectory, axis=-1)
    outermost = (weights > 0) & (radius >= EDGE * radius[weights > 0].max())
    left = kspace[:, outermost]
    return NoiseModel(robust_covariance(left), "k-space edge", left.shape[1], "unknown")


def calibration_width(trajectory: np.ndarray, weights: np.ndarray, largest: int) -> int:
    """Return the side, ≤ `largest` and even, of the fully sampled square at the centre of k-space."""
    radius = np.linalg.norm(trajectory, axis=-1)[weights > 0]
    sparse = radius[weights[weights > 0] >= DENSE]
    reach = float(sparse.min()) if sparse.size else float(radius.max())
    return min(largest, 2 * int(reach))


def dense_width(trajectory: np.ndarray, weights: np.ndarray, matrix: tuple[int, int]) -> int:
    """Return the side of the square at the centre of k-space where interleaves lie closely enough.

    They do where a sample weighs less than it does in its interleaf alone, whose own samples may be close.
    """
    most = int((weights > 0).sum(axis=0).argmax())
    mine = trajectory[:, most : most + 1]
    alone = density_weights(mine, (weights > 0)[:, most : most + 1], matrix)  # (readout, 1)
    sparse = (weights > 0) & (weights >= DENSE * np.where(alone > 0, alone, 1))
    radius = np.linalg.norm(trajectory, axis=-1)
    return 2 * int(radius[sparse].min()) if sparse.any() else 2 * int(radius.max())


def calibration_of(fit: CoilFit, width: int) -> np.ndarray:
    """Return the centre (coil, width, width) of the Cartesian k-space of a fit's images."""
    kspace = fft2c(fit.images).numpy()
    y, x = (slice(n // 2 - width // 2, n // 2 - width // 2 + width) for n in kspace.shape[1:])
    return kspace[:, y, x]
