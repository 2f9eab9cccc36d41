"""Variable-density Poisson-disc sampling that always delivers the acceleration asked."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from mrunfold.errors import InputError
from mrunfold.masks.base import Mask
from mrunfold.masks.grid import (
    centre_box,
    centre_size,
    checked_accel,
    checked_seed,
    checked_shape,
    normalised_radius,
    wanted_samples,
)

__all__ = ["poisson", "throw_darts"]

GROWTH = 3.0  # the radius at the edge of k-space is 1 + GROWTH times that at its centre
SHRINK = 0.92  # from one relaxation to the next
FAR = 2**30
SIGNATURE = "float64(b1[:, ::1], i4[:, ::1], f8[:, ::1], i8[::1], i8, f8, i8)"  # of the compiled _throw


def poisson(
    shape: Sequence[int],
    accel: float,
    *,
    seed: int | Sequence[int],
    calibration: int | tuple[int, int] | None = None,
    growth: float = GROWTH,
) -> Mask:
    """Draw points no closer than a radius r(k) that grows with |k|, around a fully sampled centre.

    r(k) = s·(1 + growth·|k|), |k| = 1 at the edge of either axis, r in samples, so density falls as 1/r².
    Darts are thrown in random order; when none fits any more, s shrinks and they are thrown again, until
    exactly round(size/accel) samples are kept.  So the count is exact, and any two samples outside the
    centre are at least min(r) apart at the last s.  This is relaxation dart throwing: McCool and Fiume,
    Hierarchical Poisson disk sampling distributions, Graphics Interface 1992.

    shape: (readout, phase); calibration: centred rectangle (an int: a square), by default 24 samples an axis,
    less where that were more than half of all samples; growth: 0 is uniform density.  From acceleration 2 the
    corners of k-space are left out (the ellipse |k| ≤ 1).  InputError where the centre has more samples than
    the acceleration allows: it says what is reachable.
    """
    shape = checked_shape(shape)
    accel = checked_accel(accel)
    seed = checked_seed(seed)
    if not (math.isfinite(growth) and growth >= 0):
        raise InputError(f"the growth of the Poisson radius is a number from 0 up, got {growth:g}")
    size = centre_size(shape, accel, calibration)
    kept = np.zeros(shape, bool)
    kept[centre_box(shape, size)] = True
    missing = wanted_samples(kept.size, accel) - math.prod(size)
    radius = normalised_radius(shape)
    inside = (radius <= 1) & ~kept
    if accel < 2 or int(inside.sum()) < missing:
        inside = ~kept
    # argsort of uniform numbers rather than Generator.permutation: their stream is the more settled one.
    order = np.argsort(np.random.default_rng(seed).random(kept.size), kind="stable")
    throw_darts(kept, order[inside.ravel()[order]], 1 + growth * radius, missing)
    return Mask(kept, "poisson", accel, size, seed)


def throw_darts(kept: np.ndarray, order: np.ndarray, growth: np.ndarray, missing: int) -> float:
    """Add `missing` samples to `kept` in place and return the last s.

    kept: bool (readout, phase); order: flat indices of the candidates as they are tried, at least `missing`;
    growth: r(k)/s, float64 (readout, phase), at least 1.
    """
    scale = _first_scale(growth.ravel()[order], missing)
    reach = math.ceil(scale * float(growth.max()))
    distance2 = _distance2(kept)
    # Explicitly contiguous and typed: the kernel is compiled for exactly these.
    return float(
        _kernel()(
            kept, distance2, np.ascontiguousarray(growth**2), order.astype(np.int64), missing, scale, reach
        )
    )


def _first_scale(growth: np.ndarray, missing: int) -> float:
    """Return an s at which somewhat fewer than `missing` candidates fit.

    Random discs of diameter r jam at a coverage of 0.547, that is 0.547·4/π = 0.70 of them an r²; on the grid
    there is no more than one a sample.
    """
    low, high = 0.0, 2 * math.sqrt(growth.size)
    fraction = missing / max(1, growth.size)
    growth = growth[:: max(1, growth.size // 4096)]  # a few thousand of them say enough
    for _ in range(20):
        middle = (low + high) / 2
        fit = np.minimum(1.0, 0.70 / np.maximum(middle * growth, 0.1) ** 2).mean() if growth.size else 0.0
        low, high = (middle, high) if fit > fraction else (low, middle)
    # Rounded, so that the last bit of the mean, which differs between machines, has no say in the mask.
    return round(max(1.3 * low, 1.0), 3)


def _distance2(kept: np.ndarray) -> np.ndarray:
    """Return the squared distance of each sample to the nearest in a centred rectangle, int32."""
    if not kept.any():
        return np.full(kept.shape, FAR, np.int32)
    offsets = []
    for axis in (0, 1):
        inside = np.flatnonzero(kept.any(axis=1 - axis))
        index = np.arange(kept.shape[axis])
        offsets.append(np.maximum(np.maximum(inside[0] - index, index - inside[-1]), 0) ** 2)
    return (offsets[0][:, None] + offsets[1][None, :]).astype(np.int32)


def _throw(kept, distance2, growth2, order, missing, scale, reach):
    """Keep candidates until none is missing; compiled, so in plain loops.

    distance2 is the squared distance to the nearest kept sample, exact up to `reach`, and follows every
    sample kept; so a dart costs one comparison.  It ends: at s·growth ≤ 1 every candidate fits.
    """
    rows, columns = kept.shape
    while missing > 0:
        for index in order:
            y = index // columns
            x = index - y * columns
            if kept[y, x] or distance2[y, x] < scale * scale * growth2[y, x]:
                continue
            kept[y, x] = True
            missing -= 1
            if missing == 0:
                return scale
            for v in range(max(0, y - reach), min(rows, y + reach + 1)):
                for u in range(max(0, x - reach), min(columns, x + reach + 1)):
                    d = (v - y) * (v - y) + (u - x) * (u - x)
                    if d < distance2[v, u]:
                        distance2[v, u] = d
        scale *= SHRINK
    return scale


@functools.lru_cache(maxsize=1)
def _kernel() -> Callable[..., float]:
    """Compile `_throw` (about a second), or load it from Numba's cache."""
    import numba

    try:
        return numba.njit(SIGNATURE, cache=True)(_throw)
    except (RuntimeError, OSError):
        # Nowhere to write the cache: a read-only installation without a home, or a full disk.
        return numba.njit(SIGNATURE)(_throw)
