"""From k-space off the grid to (y, A, σ_y, scale): density, noise, coil maps and units of a slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mrunfold.coils.cache import cache_folder, cached_maps
from mrunfold.coils.given import white_maps
from mrunfold.coils.noise import checked_sigma
from mrunfold.coils.trajectory import (
    CoilFit,
    calibration_of,
    calibration_width,
    density_weights,
    fit_coils,
    noise_off_grid,
)
from mrunfold.coils.transform import CoilTransform, whitening_of
from mrunfold.errors import InputError
from mrunfold.operators import Nufft
from mrunfold.prepare import ProblemSettings, Steps, compressed_coils, usable_maps
from mrunfold.problem import Problem, TargetKind, rescale

__all__ = ["build_trajectory_problem"]


def build_trajectory_problem(
    kspace: np.ndarray,
    trajectory: np.ndarray,
    matrix: tuple[int, int],
    kept: np.ndarray,
    *,
    acquired: np.ndarray | None = None,
    noise: np.ndarray | None = None,
    settings: ProblemSettings | None = None,
    target: TargetKind = "combined",
    maps: np.ndarray | None = None,
) -> Problem:
    """Return the problem of one slice, y (coil, readout, interleaf), from samples along a trajectory.

    kspace: complex (coil, readout, interleaf); trajectory: (readout, interleaf, 2), (ky, kx) in cycles per
    field of view of the image; matrix: (y, x) of the image; kept: which samples enter, bool (readout,
    interleaf); acquired: all that were measured, by default wherever a coil is not zero; noise: the noise
    scan (coil, samples) or None; maps: the user's, (set, coil, y, x).  As in `build_problem` everything but
    the target comes from the samples that enter.  The samples are weighted by their density:
    where they are dense σ_y is above the noise, never below.  The target is what least squares give of all
    acquired samples, where these are more than those that enter; `rss` and `combined`.
    Raises InputError for NaN, shapes that do not fit and a centre that is not fully sampled.
    """
    settings = settings or ProblemSettings()
    kspace, trajectory = _checked(kspace, trajectory, kept)
    there = (kspace != 0).any(axis=0) if acquired is None else acquired
    kept = kept & there if kspace.any() else kept
    if not kept.any():
        raise InputError("the mask keeps none of the samples that were acquired; lower the acceleration")
    run = Steps()
    with run("density"):
        weights = density_weights(trajectory, kept, matrix)
    measured = np.where(kept, kspace, np.complex64(0))
    with run("fit of coils"):
        fit = fit_coils(measured, trajectory, weights, matrix)
    with run("noise"):
        model = noise_off_grid(measured, fit, trajectory, weights) if _unknown(noise, settings) else None
        coils = whitening_of(measured, noise, run.record, model, settings.sigma)
    with run("maps"):
        width = calibration_width(trajectory, weights, settings.espirit.calibration_width)
        found, coils = _maps(fit, coils, width, settings, run.record, maps, matrix)
        white = coils.apply(measured)
        A = Nufft(torch.from_numpy(found), torch.from_numpy(trajectory), torch.from_numpy(weights))
    with run("scale"):
        y = torch.from_numpy(white * np.sqrt(weights))
        y, sigma_y, scale = rescale(y, A, torch.tensor(1.0))
    with run("target"):
        image = None
        if target != "none" and bool((there & ~kept).any()):
            image = _target(kspace, trajectory, there, matrix, coils, A, target) / scale
    run.record |= _described(trajectory, weights, matrix, kept)
    back = torch.from_numpy(coils.inverse().astype(np.complex64))
    return Problem(
        y, A, sigma_y, scale, image, "none" if image is None else target, A.coil_gain(back), back,
        record=run.record,
    )  # fmt: skip


def _unknown(noise: np.ndarray | None, settings: ProblemSettings) -> bool:
    if settings.sigma is not None:
        checked_sigma(settings.sigma)
    return noise is None and settings.sigma is None


def _checked(kspace: np.ndarray, trajectory: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shape = kspace.shape[1:]
    if kspace.ndim != 3 or kspace.dtype.kind != "c" or trajectory.shape != (*shape, 2):
        raise InputError(
            f"k-space off the grid is complex (coil, readout, interleaf) with a trajectory (readout, "
            f"interleaf, 2), got {kspace.dtype} {kspace.shape} and {trajectory.shape}; move their axes"
        )
    if kept.shape != shape:
        raise InputError(f"the mask is {kept.shape} and k-space {kspace.shape}; draw it for {shape}")
    for name, array in (("k-space", kspace), ("the trajectory", trajectory)):
        if not np.isfinite(array).all():
            raise InputError(f"{name} has NaN or infinite values; leave the slice out or export again")
    return kspace.astype(np.complex64, copy=False), trajectory.astype(np.float32, copy=False)


def _maps(
    fit: CoilFit, coils: CoilTransform, width: int, settings: ProblemSettings, record: dict[str, Any],
    own: np.ndarray | None, matrix: tuple[int, int],
) -> tuple[np.ndarray, CoilTransform]:  # fmt: skip
    """Return the maps (set, coil, y, x) and the coils that they are of, compressed where that is wanted."""
    if own is not None:
        record["maps"] = "given"
        return usable_maps(white_maps(own, coils, matrix, matrix[0]), (), record), coils
    live = int(coils.live.sum())
    if live == 1:
        record["maps"] = "one coil"
        return np.ones((1, 1, *matrix), np.complex64), coils
    if not coils.signal:
        return usable_maps(None, (live, *matrix), record), coils
    espirit = settings.espirit
    record["calibration"] = [width, width]
    if width < espirit.kernel_width:
        raise InputError(
            f"only the innermost {width} samples of k-space are sampled closely enough for the coil maps, "
            f"{espirit.kernel_width} are needed; keep more interleaves or give `maps`"
        )
    coils, block = compressed_coils(coils, coils.apply(calibration_of(fit, width)), settings, record)
    folder = cache_folder() if settings.cache == "auto" else settings.cache
    maps, record["maps"] = cached_maps(block, matrix, espirit, folder)
    return usable_maps(maps, (len(block), *matrix), record), coils


def _target(
    kspace: np.ndarray, trajectory: np.ndarray, there: np.ndarray, matrix: tuple[int, int],
    coils: CoilTransform, A: Nufft, kind: TargetKind,
) -> torch.Tensor:  # fmt: skip
    weights = density_weights(trajectory, there, matrix)
    images = fit_coils(np.where(there, kspace, np.complex64(0)), trajectory, weights, matrix).images
    if kind == "rss":
        return images.abs().square().sum(dim=0, keepdim=True).sqrt()
    return A.combine(torch.from_numpy(coils.apply(images.numpy())))


def _described(
    trajectory: np.ndarray, weights: np.ndarray, matrix: tuple[int, int], kept: np.ndarray
) -> dict[str, object]:
    """Return what the record says of a trajectory: its reach, and how many cells of k-space it samples."""
    return {
        "trajectory": {
            "interleaves": int(kept.any(axis=0).sum()),
            "of": kept.shape[1],
            "reach": round(float(np.linalg.norm(trajectory[kept], axis=-1).max()), 2),
            "sampled_share": round(float(weights.sum()) / (matrix[0] * matrix[1]), 4),
        }
    }
