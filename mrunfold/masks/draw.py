"""One way to draw a mask by the name of its law."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mrunfold.errors import InputError, did_you_mean
from mrunfold.masks.base import Mask
from mrunfold.masks.cartesian import equispaced, equispaced_fraction, magic, random
from mrunfold.masks.gaussian import gaussian, gaussian1d
from mrunfold.masks.poisson import poisson
from mrunfold.masks.radial import radial

__all__ = ["KINDS", "draw"]

LINES: dict[str, Callable[..., Mask]] = {
    "random": random,
    "equispaced": equispaced,
    "equispaced_fraction": equispaced_fraction,
    "magic": magic,
    "gaussian1d": gaussian1d,
}
POINTS: dict[str, Callable[..., Mask]] = {"poisson": poisson, "gaussian": gaussian, "radial": radial}
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
    """Draw a mask of (readout, phase) `shape` by the law `kind`, one of KINDS.

    seed: an integer, or `seed_from_name` of a file as fastMRI does.  calibration: the fully sampled centre,
    in lines for the laws that draw lines, in samples an axis for those that draw points; center_fraction: the
    same as a fraction of the width, for lines only; None: the law's own.  InputError for an unknown law, or
    what its function refuses.
    """
    if kind in LINES:
        return LINES[kind](shape, accel, seed=seed, calibration=calibration, center_fraction=center_fraction)
    if kind in POINTS:
        if center_fraction is not None:
            raise InputError(f"the {kind} mask takes its centre as calibration, not as center_fraction")
        return POINTS[kind](shape, accel, seed=seed, calibration=calibration)
    if kind == "acquired":
        raise InputError("the acquired mask is what a file has and is not drawn; use masks.acquired(array)")
    raise InputError(f"unknown mask {kind!r}{did_you_mean(kind, KINDS)}")
