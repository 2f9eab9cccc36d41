"""What a file has sampled, as a mask; and the fully sampled centre of any mask."""

from __future__ import annotations

import numpy as np

from mrunfold.errors import InputError
from mrunfold.masks.base import Mask

__all__ = ["acquired", "calibration_region"]


def acquired(array: np.ndarray) -> Mask:
    """Return the mask of what a file acquired: array bool (readout, phase), calibration region measured."""
    return Mask(array, "acquired", None, calibration_region(array))


def calibration_region(array: np.ndarray) -> tuple[int, int]:
    """Return the (readout, phase) size of the largest fully sampled rectangle centred at N//2.

    array: bool (readout, phase).  Largest means the greatest shorter side, then the greatest area: a line
    through the centre has many samples and calibrates nothing.  A rectangle of m samples begins at
    N//2 − m//2.  (0, 0) where the centre is not sampled.
    """
    array = np.asarray(array)
    if array.ndim != 2:
        raise InputError(f"a calibration region is sought in (readout, phase), got shape {array.shape}")
    # Ordered from the centre outwards, a centred rectangle of a×b is the leading block of a rows, b columns.
    rows, columns = (_outwards(n) for n in array.shape)
    missing = ~array.astype(bool)[np.ix_(rows, columns)]
    width = np.where(missing.any(axis=1), missing.argmax(axis=1), array.shape[1])
    width = np.minimum.accumulate(width)
    height = np.arange(1, array.shape[0] + 1)
    best = int(np.lexsort((height * width, np.minimum(height, width)))[-1])
    return (int(height[best]), int(width[best])) if width[best] else (0, 0)


def _outwards(size: int) -> np.ndarray:
    """Return indices from size//2 outwards, lower side first: c, c−1, c+1, c−2, …"""
    step = np.arange(1, size + 1) // 2
    return size // 2 + np.where(np.arange(1, size + 1) % 2, step, -step)
