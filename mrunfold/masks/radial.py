"""Spokes through the centre at the golden angle, on the Cartesian grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mrunfold.errors import InputError
from mrunfold.masks.acquired import calibration_region
from mrunfold.masks.base import Mask
from mrunfold.masks.grid import (
    centre_box,
    centre_size,
    checked_accel,
    checked_seed,
    checked_shape,
    wanted_samples,
)

__all__ = ["GOLDEN_ANGLE", "radial"]

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2  # 111.246°


def radial(
    shape: Sequence[int],
    accel: float,
    *,
    seed: int | Sequence[int],
    calibration: int | tuple[int, int] | None = None,
) -> Mask:
    """Add spokes through the centre, each 111.246° from the last, until the acceleration is met.

    shape: (readout, phase); spokes end on the ellipse |k| = 1 and are rounded to the grid; the seed turns the
    first one.  calibration: a fully sampled centre besides, by default none: the centre that the spokes fill
    is measured.  Only whole spokes are kept, so `delivered` is the nearest that they reach.  InputError where
    one spoke has too many samples, or all of them too few.
    Winkelmann et al., IEEE Trans. Med. Imaging 26, 2007 (golden angle).
    """
    shape = checked_shape(shape)
    accel = checked_accel(accel)
    seed = checked_seed(seed)
    kept = np.zeros(shape, bool)
    if calibration is not None:
        kept[centre_box(shape, centre_size(shape, accel, calibration))] = True
    count = wanted_samples(kept.size, accel)
    angle = np.random.default_rng(seed).uniform(0, math.pi)
    sampled = before = int(kept.sum())
    limit = 8 * sum(shape)  # spokes; past the ellipse's circumference they add hardly a sample
    for spoke in range(limit):
        line = _spoke(shape, angle + spoke * GOLDEN_ANGLE)
        added = line[:, ~kept[line[0], line[1]]]
        kept[added[0], added[1]] = True
        before, sampled = sampled, int(kept.sum())
        if sampled < count:
            continue
        if spoke > 0 and count - before < sampled - count:
            kept[added[0], added[1]] = False
        elif sampled > 1.5 * count:
            raise InputError(
                f"one spoke through {shape[0]}×{shape[1]} has {sampled} samples with the centre: the radial "
                f"mask reaches accelerations up to {kept.size / sampled:.4g}, asked {accel:g}; lower it"
            )
        return Mask(kept, "radial", accel, calibration_region(kept), seed)
    raise InputError(
        f"spokes leave out the corners of k-space: the radial mask of {shape[0]}×{shape[1]} reaches "
        f"accelerations from {kept.size / sampled:.4g} up, asked {accel:g}; raise it"
    )


def _spoke(shape: tuple[int, int], angle: float) -> np.ndarray:
    """Return the (2, n) grid indices of one spoke, one sample a step along its longer axis."""
    half = np.array([math.sin(angle) * shape[0] / 2, math.cos(angle) * shape[1] / 2])
    steps = max(1, math.ceil(float(np.abs(half).max())))
    offsets = np.rint(np.linspace(-1, 1, 2 * steps + 1) * half[:, None]).astype(int)
    indices = offsets + np.array([[shape[0] // 2], [shape[1] // 2]])
    indices = indices[:, (indices >= 0).all(axis=0) & (indices < np.array(shape)[:, None]).all(axis=0)]
    return np.unique(indices, axis=1)
