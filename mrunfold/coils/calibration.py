"""The fully sampled centre of k-space, from which coils are calibrated."""

from __future__ import annotations

import numpy as np

from mrunfold.errors import InputError

__all__ = ["calibration_block"]


def calibration_block(
    kspace: np.ndarray, acquired: np.ndarray, width: int = 24, minimum: int = 6
) -> np.ndarray:
    """Return the fully sampled centre of k-space (coil, readout, phase): (coil, ≤ width, ≤ width).

    acquired: bool (readout, phase); only where it is True is k-space looked at.  Sample N//2 of k-space is
    sample n//2 of the block.  Raises InputError where a side is shorter than `minimum`, the kernel's width.
    """
    from mrunfold.masks import calibration_region

    if kspace.shape[1:] != acquired.shape:
        raise InputError(
            f"k-space is {kspace.shape} and its mask {acquired.shape}; "
            f"the mask of this k-space is {kspace.shape[1:]} (readout, phase)"
        )
    region = calibration_region(acquired)
    if min(region) < minimum:
        raise InputError(
            f"the fully sampled centre of k-space is {region[0]}×{region[1]} (readout × phase) and coil "
            f"calibration needs at least {minimum}×{minimum}; take a mask with a larger calibration region "
            "or a lower acceleration, or give coil maps of your own (`maps`)"
        )
    size = [min(side, width) for side in region]
    start = [n // 2 - m // 2 for n, m in zip(acquired.shape, size, strict=True)]
    return kspace[:, start[0] : start[0] + size[0], start[1] : start[1] + size[1]]
