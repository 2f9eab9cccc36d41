"""What all masks share: the k-space grid, its centre, and checks of what is asked."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np

from mrunfold.errors import InputError

__all__ = [
    "centre_box",
    "centre_size",
    "checked_accel",
    "checked_seed",
    "checked_shape",
    "normalised_radius",
    "wanted_samples",
]

DEFAULT_CALIBRATION = 24  # samples an axis; what ESPIRiT's authors calibrate on


def checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return (readout, phase) as two positive integers; InputError otherwise."""
    try:
        readout, phase = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        raise InputError(f"a mask's shape is (readout, phase), two integers, got {shape!r}") from None
    if readout < 1 or phase < 1:
        raise InputError(f"a mask's shape is (readout, phase), each at least 1, got {readout}×{phase}")
    return readout, phase


def checked_accel(accel: float) -> float:
    """Return the acceleration as a float; InputError where it is below 1 or not a number."""
    try:
        value = float(accel)
    except (TypeError, ValueError):
        raise InputError(f"the acceleration is a number from 1 up, got {accel!r}") from None
    if not (math.isfinite(value) and value >= 1):
        raise InputError(f"the acceleration is a finite number from 1 up, got {value:g}")
    return value


def checked_seed(seed: int | Sequence[int]) -> int | tuple[int, ...]:
    """Return the seed as a non-negative int or a tuple of such; InputError otherwise.

    At most 32 bits each, as NumPy's RandomState (fastMRI's generator) takes them.
    """
    wrong = InputError(f"a seed is an integer from 0 to 2^32 − 1 or a tuple of them, got {seed!r}")
    if isinstance(seed, str | bytes):
        raise InputError(f"a seed is an integer or a tuple of them, got {seed!r}; use seed_from_name(name)")
    try:
        values = tuple(operator.index(s) for s in ((seed,) if not isinstance(seed, Sequence) else seed))
    except TypeError:
        raise wrong from None
    if not values or any(not 0 <= value < 2**32 for value in values):
        raise wrong
    return values if isinstance(seed, Sequence) else values[0]


def wanted_samples(size: int, accel: float, what: str = "sample") -> int:
    """Return round(size / accel); InputError where that leaves nothing."""
    count = round(size / accel)
    if count < 1:
        raise InputError(f"an acceleration of {accel:g} leaves no {what} of {size}; use at most {size}")
    return count


def centre_box(shape: tuple[int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the slices of the `size` (readout, phase) rectangle that is centred at N//2."""
    readout, phase = (slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(shape, size, strict=True))
    return readout, phase


def centre_size(
    shape: tuple[int, int], accel: float, calibration: int | tuple[int, int] | None
) -> tuple[int, int]:
    """Return the (readout, phase) size of the fully sampled centre.

    An int means a square.  None means 24 samples an axis, less where the matrix is smaller or where the
    centre would take more than half of the samples.  InputError where a given size does not fit the matrix
    or the acceleration; the message says which accelerations are reachable.
    """
    count = wanted_samples(math.prod(shape), accel)
    if calibration is None:
        side = max(1, min(DEFAULT_CALIBRATION, math.isqrt(count // 2)))
        return min(side, shape[0]), min(side, shape[1])
    try:
        pair = calibration if isinstance(calibration, Sequence) else (calibration, calibration)
        rows, columns = (operator.index(c) for c in pair)
    except (TypeError, ValueError):
        raise InputError(f"calibration is an integer or (readout, phase), got {calibration!r}") from None
    if not (0 <= rows <= shape[0] and 0 <= columns <= shape[1]):
        raise InputError(
            f"a calibration region of {rows}×{columns} does not fit a matrix of {shape[0]}×{shape[1]}; "
            "give a smaller one"
        )
    if rows * columns > count:
        reachable = math.prod(shape) / (rows * columns)
        raise InputError(
            f"with a calibration region of {rows}×{columns}, a matrix of {shape[0]}×{shape[1]} reaches "
            f"accelerations up to {math.floor(reachable * 100) / 100:g}, asked {accel:g}; lower either"
        )
    return rows, columns


def normalised_radius(shape: tuple[int, int]) -> np.ndarray:
    """Return |k| (readout, phase): 0 at N//2, 1 at the edge of either axis."""
    axes = [(np.arange(n) - n // 2) / (n / 2) for n in shape]
    return np.sqrt(axes[0][:, None] ** 2 + axes[1][None, :] ** 2)
