"""From k-space off the grid to (y, A, σ_y, scale): density, noise, coil maps and units of a slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from mrunfold.coils.cache import cache_folder, cached_maps
from mrunfold.coils.given import white_maps
from mrunfold.coils.noise import NoiseModel, checked_sigma, live_coils, noise_model
from mrunfold.coils.spikes import leave_out_along
from mrunfold.coils.together import Together, cut_alike, maps_together, mean_model
from mrunfold.coils.trajectory import (
    CoilFit,
    calibration_of,
    calibration_width,
    dense_width,
    density_weights,
    fit_coils,
    noise_off_grid,
)
from mrunfold.coils.transform import CoilTransform, noise_record, whitening_of
from mrunfold.errors import InputError
from mrunfold.operators import Nufft
from mrunfold.prepare import AUTO_COILS, ProblemSettings, Steps, compressed_coils, usable_maps
from mrunfold.problem import Problem, TargetKind, rescale

__all__ = ["build_trajectory_problem", "find_shared_along"]


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
    shared: Together | None = None,
) -> Problem:
    """Return the problem of one slice, y (coil, readout, interleaf), from samples along a trajectory.

    kspace: complex (coil, readout, interleaf); trajectory: (readout, interleaf, 2), (ky, kx) in cycles per
    field of view of the image; matrix: (y, x) of the image; kept: which samples enter, bool (readout,
    interleaf); acquired: all that were measured, by default wherever a coil is not zero; noise: the noise
    scan (coil, samples) or None; maps: the user's, (set, coil, y, x); shared: noise and maps of all frames
    (`find_shared_along`).  As in `build_problem` everything but
    the target comes from the samples that enter, less spikes.  The samples are weighted by their density:
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
    with run("spikes"):
        seen = (kspace, trajectory, kept, there, settings.spikes, run.record)
        kept, there, flags = leave_out_along(*seen)
    with run("density"):
        weights = density_weights(trajectory, kept, matrix)
    measured = np.where(kept, kspace, np.complex64(0))
    if shared is None:
        found, coils = _of_slice(run, measured, (trajectory, weights), matrix, noise, settings, maps)
    else:
        run.record |= shared.record
        found, coils = _shared_maps(shared, run.record, maps, matrix), shared.coils
    white = coils.apply(measured)
    A = Nufft(torch.from_numpy(found), torch.from_numpy(trajectory), torch.from_numpy(weights))
    with run("scale"):
        y = torch.from_numpy(white * np.sqrt(weights))
        y, sigma_y, scale = rescale(y, A, torch.ones((), dtype=torch.float32))
    with run("target"):
        image = None
        if target != "none" and bool((there & ~kept).any()):
            image = _target(kspace, trajectory, there, matrix, coils, A, target) / scale
    run.record |= _described(trajectory, weights, matrix, kept)
    back = torch.from_numpy(coils.inverse().astype(np.complex64))
    return Problem(
        y, A, sigma_y, scale, image, "none" if image is None else target, A.coil_gain(back), back,
        flags=flags, record=run.record,
    )  # fmt: skip


def _of_slice(
    run: Steps, measured: np.ndarray, lie: tuple[np.ndarray, np.ndarray], matrix: tuple[int, int],
    noise: np.ndarray | None, settings: ProblemSettings, maps: np.ndarray | None,
) -> tuple[np.ndarray, CoilTransform]:  # fmt: skip
    """Return maps (set, coil, y, x) and their coils, of this slice alone; lie: trajectory and weights."""
    with run("fit of coils"):
        fit = fit_coils(measured, *lie, matrix)
    with run("noise"):
        model = noise_off_grid(measured, fit, *lie) if _unknown(noise, settings) else None
        coils = whitening_of(measured, noise, run.record, model, settings.sigma)
    with run("maps"):
        width = calibration_width(*lie, settings.espirit.calibration_width)
        return _maps(fit, coils, width, settings, run.record, maps, matrix)


def find_shared_along(
    frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    kept: np.ndarray | None,
    matrix: tuple[int, int],
    *,
    noise: np.ndarray | None = None,
    settings: ProblemSettings | None = None,
    with_maps: bool = True,
    alike: bool = False,
) -> Together | None:
    """Return the noise and coil maps of frames of one place, from samples that are acquired and kept.

    frames: of each k-space (coil, readout, interleaf), what was acquired of it, bool (readout, interleaf),
    and its trajectory; kept: the mask, None for all; alike: the object is the same in all frames but for its
    motion.  The calibration region is that of each frame, or, where frames have too few interleaves for one
    and are alike, that of all interleaves together.  None where the frames have no coil with signal in
    common.
    """
    settings = settings or ProblemSettings()
    pieces = []
    for kspace, there, trajectory in frames:
        keep = there if kept is None else kept & there
        kspace, trajectory = _checked(kspace, trajectory, keep)
        keep, _, _ = leave_out_along(kspace, trajectory, keep, keep, settings.spikes, {})
        if keep.any() and kspace.any():
            pieces.append((np.where(keep, kspace, np.complex64(0)), keep, trajectory))
    alive = [live_coils(kspace) for kspace, _, _ in pieces]
    if not pieces or not (live := np.all(alive, axis=0)).any():
        return None
    pieces = [(kspace[live], keep, trajectory) for kspace, keep, trajectory in pieces]
    fits = [_fitted(*piece, matrix) for piece in pieces]
    model: NoiseModel
    if settings.sigma is not None or noise is not None:
        model = noise_model(
            pieces[0][0], pieces[0][1], None if noise is None else noise[live], settings.sigma
        )
    else:
        model = mean_model(
            [
                noise_off_grid(kspace, fit, trajectory, weights)
                for (kspace, _, trajectory), (fit, weights) in zip(pieces, fits, strict=True)
            ]
        )
    record = noise_record(live, model) | {"together": len(pieces)}
    coils = CoilTransform(live, model.covariance)
    if not with_maps or int(live.sum()) < 2:
        return Together(coils, None, record)
    every = CoilTransform(np.ones(int(live.sum()), bool), model.covariance)
    blocks = [every.apply(block) for block in _blocks_along(pieces, fits, matrix, settings, record, alike)]
    few = settings.compression == "auto" and int(live.sum()) <= AUTO_COILS
    folder = cache_folder() if settings.cache == "auto" else settings.cache
    how = (settings.espirit, None if few else settings.compression, folder)
    return maps_together(coils, cut_alike(blocks), matrix, *how, record)


Piece = tuple[np.ndarray, np.ndarray, np.ndarray]


def _fitted(
    kspace: np.ndarray, keep: np.ndarray, trajectory: np.ndarray, matrix: tuple[int, int]
) -> tuple[CoilFit, np.ndarray]:
    weights = density_weights(trajectory, keep, matrix)
    return fit_coils(kspace, trajectory, weights, matrix), weights


def _blocks_along(
    pieces: Sequence[Piece],
    fits: Sequence[tuple[CoilFit, np.ndarray]],
    matrix: tuple[int, int],
    settings: ProblemSettings,
    record: dict[str, Any],
    alike: bool,
) -> list[np.ndarray]:
    """Return the calibration blocks (coil, h, w) of frames, or one of all their interleaves."""
    espirit = settings.espirit
    found = [(trajectory, weights) for (_, _, trajectory), (_, weights) in zip(pieces, fits, strict=True)]
    widths = [calibration_width(*one, espirit.calibration_width) for one in found]
    if not alike or min(dense_width(*one, matrix) for one in found) >= espirit.kernel_width:
        for width in widths:
            _enough(width, espirit.kernel_width)
        return [calibration_of(fit, width) for (fit, _), width in zip(fits, widths, strict=True)]
    kspace, keep, trajectory = (
        np.concatenate([piece[part] for piece in pieces], axis=axis)
        for part, axis in ((0, 2), (1, 1), (2, 1))
    )
    fit, weights = _fitted(kspace, keep, trajectory, matrix)
    width = calibration_width(trajectory, weights, espirit.calibration_width)
    _enough(width, espirit.kernel_width)
    record["interleaves_together"] = int(keep.any(axis=0).sum())
    return [calibration_of(fit, width)]


def _shared_maps(
    shared: Together, record: dict[str, Any], own: np.ndarray | None, matrix: tuple[int, int]
) -> np.ndarray:
    """Return the maps (set, coil, y, x) that frames share, or the user's."""
    live = int(shared.coils.live.sum())
    if own is not None:
        record["maps"] = "given"
        return usable_maps(white_maps(own, shared.coils, matrix, matrix[0]), (), record)
    if shared.maps is None:
        record["maps"] = "one coil"
        return np.ones((1, live, *matrix), np.complex64)
    return usable_maps(shared.maps, shared.maps.shape[1:], record)


def _enough(width: int, kernel: int) -> None:
    if width < kernel:
        raise InputError(
            f"only the innermost {width} samples of k-space are sampled closely enough for the coil maps, "
            f"{kernel} are needed; keep more interleaves or give `maps`"
        )


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
    _enough(width, espirit.kernel_width)
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
