"""Confidence intervals of a mean by resampling volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrunfold.errors import InputError

__all__ = ["CONFIDENCE", "Interval", "bootstrap_means"]

CONFIDENCE = 0.95
CHUNK = 1 << 22  # numbers drawn at a time: 200 draws of 20,000 volumes need no more memory than 200 of 20


@dataclass(frozen=True)
class Interval:
    """A mean over `count` volumes and the percentile interval of its resampled means.

    low and high are None where volumes are too few to resample (one), or where a value is infinite.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def bootstrap_means(values: Sequence[float], *, draws: int, seed: int) -> Interval:
    """Return the mean of `values`, one a volume, and its 95 % percentile interval over `draws` resamples.

    Each resample takes as many volumes as there are, with replacement, from a generator of `seed`: equal
    numbers of volumes are resampled alike.  Efron, Tibshirani, "An Introduction to the Bootstrap" (1993),
    ch. 13.  InputError for no values, NaN, or fewer than 100 draws.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise InputError(f"a bootstrap needs values of at least one volume, got {array.shape}")
    if np.isnan(array).any():
        raise InputError("a bootstrap over NaN has no mean; leave those volumes out and say so")
    if draws < 100:
        raise InputError(f"a 95 % interval needs at least 100 draws, got {draws}; add `draws=10000`")
    mean = float(array.mean())
    if array.size < 2 or not np.isfinite(array).all():
        return Interval(mean, None, None, array.size)
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // array.size)
    means = [
        array[rng.integers(array.size, size=(min(rows, draws - done), array.size))].mean(axis=1)
        for done in range(0, draws, rows)
    ]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return Interval(mean, float(low), float(high), array.size)
