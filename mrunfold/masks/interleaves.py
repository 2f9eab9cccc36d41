"""Which interleaves, or spokes, of a scan off the grid are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.masks.base import Mask
from mrunfold.masks.grid import checked_accel, checked_shape

__all__ = ["every", "first"]


def first(shape: Sequence[int], accel: float, *, seed: Any = None) -> Mask:
    """Keep the first 1/accel of the interleaves of (readout, interleaf): a scan that ended sooner.

    It is what golden-angle and other orders give that cover k-space at any time.
    """
    readout, interleaves = checked_shape(shape)
    return _kept((readout, interleaves), np.arange(_count(interleaves, accel)), "first", accel)


def every(shape: Sequence[int], accel: float, *, seed: Any = None) -> Mask:
    """Keep every accel-th interleaf of (readout, interleaf), for angles in equal steps."""
    readout, interleaves = checked_shape(shape)
    count = _count(interleaves, accel)
    chosen = np.floor(np.arange(count) * interleaves / count).astype(int)
    return _kept((readout, interleaves), chosen, "every", accel)


def _count(interleaves: int, accel: float) -> int:
    count = round(interleaves / checked_accel(accel))
    if count < 1:
        raise InputError(f"{interleaves} interleaves at acceleration {accel:g} leave none; lower it")
    return count


def _kept(shape: tuple[int, int], chosen: np.ndarray, kind: str, accel: float) -> Mask:
    array = np.zeros(shape, bool)
    array[:, chosen] = True
    return Mask(array, kind, float(accel), (0, 0))
