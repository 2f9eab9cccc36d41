"""Points and lines drawn with a Gaussian density, exactly as many as asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mrunfold.errors import InputError
from mrunfold.masks.base import Mask
from mrunfold.masks.cartesian import centre_lines
from mrunfold.masks.grid import (
    centre_box,
    centre_size,
    checked_accel,
    checked_seed,
    checked_shape,
    normalised_radius,
    wanted_samples,
)

__all__ = ["gaussian", "gaussian1d"]

WIDTH = 1 / 3  # standard deviation, in units of |k|


def gaussian(
    shape: Sequence[int],
    accel: float,
    *,
    seed: int | Sequence[int],
    calibration: int | tuple[int, int] | None = None,
    width: float = WIDTH,
) -> Mask:
    """Draw points without replacement with weights exp(−|k|²/2·width²), around a fully sampled centre.

    shape: (readout, phase); |k| = 1 at the edge of either axis; calibration as for `poisson`.  Exactly
    round(size/accel) samples are kept.  InputError where the centre has more than that.
    """
    shape = checked_shape(shape)
    accel = checked_accel(accel)
    seed = checked_seed(seed)
    size = centre_size(shape, accel, calibration)
    kept = np.zeros(shape, bool)
    kept[centre_box(shape, size)] = True
    _draw(kept, normalised_radius(shape), wanted_samples(kept.size, accel), width, seed)
    return Mask(kept, "gaussian", accel, size, seed)


def gaussian1d(
    shape: Sequence[int],
    accel: float,
    *,
    seed: int | Sequence[int],
    calibration: int | None = None,
    center_fraction: float | None = None,
    width: float = WIDTH,
) -> Mask:
    """Draw phase-encoding lines without replacement with weights exp(−k²/2·width²).

    shape: (readout, phase); the centre as for fastMRI's masks (calibration lines, or center_fraction, by
    default 0.32/accel).  Exactly round(phase/accel) lines are kept.  InputError where the centre has more.
    """
    readout, phase = checked_shape(shape)
    accel = checked_accel(accel)
    seed = checked_seed(seed)
    count = wanted_samples(phase, accel, "line")
    lines, _ = centre_lines(phase, accel, calibration, center_fraction)
    if lines > count:
        raise InputError(
            f"a centre of {lines} lines of {phase} reaches accelerations up to {phase / lines:.4g}, "
            f"asked {accel:g}; lower either"
        )
    kept = np.zeros(phase, bool)
    kept[centre_box((1, phase), (1, lines))[1]] = True
    _draw(kept, np.abs(np.arange(phase) - phase // 2) / (phase / 2), count, width, seed)
    return Mask(np.broadcast_to(kept, (readout, phase)), "gaussian1d", accel, (readout, lines), seed)


def _draw(
    kept: np.ndarray, radius: np.ndarray, count: int, width: float, seed: int | tuple[int, ...]
) -> None:
    """Fill `kept` up to `count` in place.

    Gumbel's trick: the largest of log w + Gumbel noise are a weighted draw without replacement (Vieira 2014;
    Efraimidis and Spirakis, Inf. Process. Lett. 97, 2006).
    """
    if not (math.isfinite(width) and width > 0):
        raise InputError(f"the width of the Gaussian density is a number above 0, got {width:g}")
    missing = count - int(kept.sum())
    noise = np.random.default_rng(seed).gumbel(size=kept.shape)
    key = np.where(kept, -np.inf, noise - radius**2 / (2 * width**2))
    kept.ravel()[np.argsort(-key, axis=None, kind="stable")[:missing]] = True
