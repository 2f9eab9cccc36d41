"""Image quality of a volume on disk, with one slice of it in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mrunfold.metrics import ssim

__all__ = ["RULE", "score_volume"]

RULE = "data range = maximum of the target volume, as fastMRI has it"
Slices = Callable[[], Iterator[np.ndarray]]


def score_volume(target: Slices, recon: Slices) -> dict[str, Any]:
    """Return NMSE, PSNR and SSIM as `mrunfold.metrics.score` has them for the whole volume, and their rule.

    target, recon: called twice, each gives the slices (readout, phase).  All are None for an empty target.
    """
    peak = error = norm = 0.0
    count = 0
    for t, r in zip(target(), recon(), strict=True):
        t64, r64 = t.astype(np.float64), r.astype(np.float64)
        peak = max(peak, float(t64.max()))
        error += float(np.sum((t64 - r64) ** 2))
        norm += float(np.sum(t64**2))
        count += t.size
    empty: dict[str, Any] = {"nmse": None, "psnr": None, "ssim": None}
    if peak <= 0:
        return empty | {"data_range": None, "rule": RULE}
    psnr = math.inf if error == 0 else 10 * math.log10(peak**2 * count / error)
    each = [ssim(t[None], r[None], data_range=peak) for t, r in zip(target(), recon(), strict=True)]
    scores = {"nmse": error / norm, "psnr": psnr, "ssim": float(np.mean(each))}
    return scores | {"data_range": peak, "rule": RULE}
