"""K-space in units so large or small that squares in float32 overflow or vanish."""

from __future__ import annotations

from typing import overload

import numpy as np

__all__ = ["in_units", "unit_of"]

ORDINARY = (1e-12, 1e12)  # peaks of k-space between which float32 has room for all that is computed


def unit_of(kspace: np.ndarray) -> float:
    """Return what complex k-space is to be divided by: 1, or a power of two near an extraordinary peak."""
    peak = max(float(np.abs(part).max(initial=0)) for part in (kspace.real, kspace.imag))
    if peak == 0 or ORDINARY[0] <= peak <= ORDINARY[1]:
        return 1.0
    return float(2.0 ** round(np.log2(peak)))


@overload
def in_units(array: np.ndarray, unit: float) -> np.ndarray: ...
@overload
def in_units(array: np.ndarray | None, unit: float) -> np.ndarray | None: ...
def in_units(array: np.ndarray | None, unit: float) -> np.ndarray | None:
    """Return an array divided by `unit`, as it is for 1 and None; what then overflows is infinite."""
    if array is None or unit == 1:
        return array
    with np.errstate(over="ignore"):
        return (array / np.float64(unit)).astype(array.dtype)
