"""What goes wrong at a scanner, done to a fully sampled slice: for `mrunfold bench check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mrunfold.benchmarks.datasets import FullSlice, windowed
from mrunfold.errors import InputError

__all__ = ["CONDITIONS", "Condition", "condition_of"]

MOVED = 2.0  # pixels: how far the object moves
MOVED_SHARE = 0.25  # of the phase-encoding lines are acquired after it moved
ROLLED = 0.08  # of the field of view: how far the calibration scan is off
SPIKE = 0.5  # of the largest sample
SPIKES = 3


@dataclass(frozen=True)
class Condition:
    """A change of a slice, and k-space of another position that the maps are made of, or None.

    The truth that a reconstruction is scored against is that of the slice as it was, but for filters, which
    a scanner applies to the full data as well (`truth_too`).
    """

    name: str
    change: Callable[[FullSlice], FullSlice]
    calibration: Callable[[FullSlice], np.ndarray] | None = None
    truth_too: bool = False


def _generator(full: FullSlice) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(full.name.encode()[-8:], "big"))


def moved(full: FullSlice) -> FullSlice:
    """Return the slice of an object that moves MOVED pixels along the phase encoding for some of its lines.

    A shift by d pixels multiplies the sample at k by exp(−2πi k d / n) (Fourier's shift theorem).
    """
    n = full.kspace.shape[-1]
    k = np.arange(n) - n // 2
    late = _generator(full).random(n) < MOVED_SHARE
    ramp = np.where(late, np.exp(-2j * np.pi * k * MOVED / n), 1).astype(np.complex64)
    return replace(full, name=f"moved {full.name}", kspace=full.kspace * ramp)


def spiked(full: FullSlice) -> FullSlice:
    """Return the slice with a few samples that a spark made large, outside the middle of k-space."""
    rng, kspace = _generator(full), full.kspace.copy()
    height, width = kspace.shape[-2:]
    for _ in range(SPIKES):
        y, x = rng.integers(0, height), rng.integers(0, width // 3)
        size = SPIKE * np.abs(kspace).max()
        kspace[:, y, x] += size * np.exp(2j * np.pi * rng.random(len(kspace))).astype(np.complex64)
    return replace(full, name=f"spiked {full.name}", kspace=kspace)


def rolled(full: FullSlice) -> np.ndarray:
    """Return k-space of the slice at another place: maps made of it are off by ROLLED fields of view."""
    n = full.kspace.shape[-1]
    shift = round(ROLLED * n)
    k = np.arange(n) - n // 2
    return full.kspace * np.exp(-2j * np.pi * k * shift / n).astype(np.complex64)


CONDITIONS = {
    found.name: found
    for found in (
        Condition("plain", lambda full: full),
        Condition("hann", windowed, truth_too=True),
        Condition("moved", moved),
        Condition("spiked", spiked),
        Condition("wrong maps", lambda full: replace(full, name=f"wrong maps {full.name}"), rolled),
    )
}


def condition_of(name: str) -> Condition:
    """Return a condition by its name; InputError for another name."""
    if name not in CONDITIONS:
        raise InputError(f"there is no condition {name!r}; choose of {', '.join(CONDITIONS)}")
    return CONDITIONS[name]
