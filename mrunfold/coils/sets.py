"""How many sets of coil maps a scan needs, judged from its calibration block."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mrunfold.coils.eigenmaps import eigen_maps
from mrunfold.operators import ifft2c

__all__ = ["needed_sets"]

GRID = 64  # places an axis at which the second set is judged
EVIDENCE = 4.0  # power along the second set, over that along a direction that no set has
SHARE = 1e-5  # of the block's power: a second set that holds less changes no image


def needed_sets(kernels: Tensor, block: np.ndarray, further_crop: float) -> int:
    """Return 2 where a second set of maps holds signal of the calibration block (coil, h, w), else 1.

    kernels: of `covariance_kernels` of this block; further_crop: the second set counts where its eigenvalue
    is above it.  The block's own images are split, pixel by pixel, into their parts along the first map,
    along the second, and the rest.  Coils − 2 directions make the rest: it holds noise, and what no map
    explains.  A second set is kept where it holds `EVIDENCE` times as much as each of them, and at least
    `SHARE` of all power.  An object that reaches the edge of the field of view, or folds over, needs it:
    there the coils are not periodic, and one set leaves 15 to 25 dB below the signal unexplained
    (`mrunfold bench maps --explain`).  With fewer than 3 coils there is no rest to compare with: 1.
    """
    coils = len(block)
    if coils < 3:
        return 1
    maps, value = eigen_maps(kernels, (GRID, GRID), 2)
    images = _images(block, GRID)
    along = (maps.conj() * images).sum(dim=1)  # (set, y, x)
    rest = (images - (maps * along[:, None]).sum(dim=0)).abs().square().sum(dim=0) / (coils - 2)
    there = value[1] > further_crop
    second = float(along[1].abs().square()[there].sum())
    enough = second > SHARE * float(images.abs().square().sum())
    return 2 if enough and second > EVIDENCE * float(rest[there].sum()) else 1


def _images(block: np.ndarray, side: int) -> Tensor:
    """Return images (coil, side, side) of the block under a Hann window, zeros around it."""
    kept = [min(n, side) for n in block.shape[1:]]
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in kept))
    own, there = (
        tuple(slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(sides, kept, strict=True))
        for sides in (block.shape[1:], (side, side))
    )
    kspace = np.zeros((len(block), side, side), np.complex64)
    kspace[:, there[0], there[1]] = block[:, own[0], own[1]] * window
    return ifft2c(torch.from_numpy(kspace))
