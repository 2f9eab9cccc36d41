"""One way to draw a mask by its name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.masks.acquired import calibration_region
from mrunfold.masks.base import Mask
from mrunfold.masks.grid import checked_accel, checked_shape
from mrunfold.registry import Registry

__all__ = ["INTERLEAVES", "KINDS", "LINES", "MASKS", "draw"]

LINES = {
    "random": "mrunfold.masks.cartesian:random",
    "equispaced": "mrunfold.masks.cartesian:equispaced",
    "equispaced_fraction": "mrunfold.masks.cartesian:equispaced_fraction",
    "magic": "mrunfold.masks.cartesian:magic",
    "gaussian1d": "mrunfold.masks.gaussian:gaussian1d",
}
POINTS = {
    "poisson": "mrunfold.masks.poisson:poisson",
    "gaussian": "mrunfold.masks.gaussian:gaussian",
    "radial": "mrunfold.masks.radial:radial",
}
INTERLEAVES = {
    "first": "mrunfold.masks.interleaves:first",
    "every": "mrunfold.masks.interleaves:every",
}
MASKS = Registry("mask", "mrunfold.masks", LINES | POINTS | INTERLEAVES)
# Those that ship, of the grid.
KINDS: tuple[str, ...] = (*LINES, *POINTS)


def draw(
    kind: str,
    shape: Sequence[int],
    accel: float,
    *,
    seed: int | Sequence[int],
    calibration: int | tuple[int, int] | None = None,
    center_fraction: float | None = None,
) -> Mask:
    """Draw a mask of (readout, phase) `shape`.

    kind: one of KINDS, of INTERLEAVES for a scan along a trajectory, the name of one that another package
    brings, or package.module:name.
    seed: an integer, or `seed_from_name` of a file as fastMRI does.  calibration: the fully sampled centre,
    in lines for masks of lines, in samples an axis for masks of points; center_fraction: the same as a
    fraction of the width, for lines only; None: the mask's own.  A function of another package is called with
    (shape, accel, seed=seed), with the centre only where it is given, and returns a Mask or a bool array.
    InputError for an unknown mask, or what its function refuses.
    """
    if kind == "acquired":
        raise InputError("the acquired mask is what a file has and is not drawn; use masks.acquired(array)")
    if kind in POINTS and center_fraction is not None:
        raise InputError(f"the {kind} mask takes its centre as `calibration`, not as `center_fraction`")
    function = MASKS.load(kind)
    if kind in LINES:
        mask: Mask = function(
            shape, accel, seed=seed, calibration=calibration, center_fraction=center_fraction
        )
        return mask
    if kind in POINTS:
        mask = function(shape, accel, seed=seed, calibration=calibration)
        return mask
    if kind in INTERLEAVES:
        if calibration is not None or center_fraction is not None:
            raise InputError(f"the {kind} mask keeps interleaves and has no centre to set; leave it out")
        mask = function(shape, accel, seed=seed)
        return mask
    centre = {"calibration": calibration, "center_fraction": center_fraction}
    given = {name: value for name, value in centre.items() if value is not None}
    return _of_others(kind, function, checked_shape(shape), checked_accel(accel), seed, given)


def _of_others(
    kind: str, function: Any, shape: tuple[int, int], accel: float, seed: Any, given: dict[str, Any]
) -> Mask:
    """Return the mask that a function of another package draws, checked."""
    try:
        inspect.signature(function).bind(shape, accel, seed=seed, **given)
    except TypeError as error:
        arguments = "".join(f", {name}=…" for name in given)
        raise InputError(
            f"mask {kind} cannot be called with (shape, accel, seed=…{arguments}): {error}"
        ) from None
    drawn = function(shape, accel, seed=seed, **given)
    if not isinstance(drawn, Mask):
        array = np.asarray(drawn)
        wrong = array.ndim != 2 or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all()
        if wrong:
            raise InputError(f"mask {kind} returned no Mask and no bool array (readout, phase)")
        used = seed if isinstance(seed, int) else tuple(seed)
        drawn = Mask(array, kind.rpartition(":")[2], accel, calibration_region(array), used)
    if drawn.shape != shape:
        raise InputError(f"mask {kind} returned {drawn.shape}, asked for {shape} (readout, phase)")
    return drawn
