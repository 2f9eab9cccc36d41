"""Poisson-disc masks: ours against SigPy's, in one run, compilation apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mrunfold.masks import Mask, poisson

__all__ = ["MaskTiming", "compilation_seconds", "masks_table", "run"]

Case = tuple[tuple[int, int], float]  # matrix (readout, phase), acceleration
CASES: tuple[Case, ...] = (((320, 320), 4.0), ((320, 320), 8.0), ((96, 96), 8.0))
CALIBRATION = 20
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class MaskTiming:
    """Median seconds a mask and the actual acceleration, ours and SigPy's; None where SigPy gives up."""

    shape: tuple[int, int]
    accel: float
    seconds: float
    delivered: float
    sigpy_seconds: float | None
    sigpy_delivered: float | None

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is."""
        return None if self.sigpy_seconds is None else self.sigpy_seconds / self.seconds


def masks_table(cases: Sequence[Case] = CASES, repeats: int = 3) -> list[MaskTiming]:
    """Time both on the same matrices, accelerations and calibration region; one untimed call each first.

    The median of `repeats` draws with different seeds.  Where SigPy cannot generate a mask, that is a result.
    """
    table = []
    _ours(((64, 64), 2.0), 0)
    _sigpy(((64, 64), 2.0), 0)
    for case in cases:
        seconds, mask = _median(_ours, case, repeats)
        try:
            sigpy_seconds, array = _median(_sigpy, case, repeats)
        except ValueError:
            table.append(MaskTiming(*case, seconds, mask.delivered, None, None))
            continue
        delivered = float(array.size / np.abs(array).sum())
        table.append(MaskTiming(*case, seconds, mask.delivered, sigpy_seconds, delivered))
    return table


def compilation_seconds() -> float:
    """Return what the very first mask on a machine costs more: Numba compiling, its cache not used."""
    import numba

    from mrunfold.masks.poisson import SIGNATURE, _throw

    start = time.perf_counter()
    numba.njit(SIGNATURE)(_throw)
    return time.perf_counter() - start


def run() -> None:
    """Measure and print the table."""
    print("Poisson-disc masks, median seconds a mask, compilation apart")
    print(f"{'matrix':>9} {'R':>4} {'mrunfold':>10} {'R given':>8} {'sigpy':>10} {'R given':>8} {'ratio':>7}")
    for row in masks_table():
        ours = f"{row.shape[0]}×{row.shape[1]:<4} {row.accel:>4g} {row.seconds:>9.4f}s {row.delivered:>8.3f}"
        if row.sigpy_seconds is None:
            print(f"{ours}   cannot generate this mask")
        else:
            print(f"{ours} {row.sigpy_seconds:>9.4f}s {row.sigpy_delivered:>8.3f} {row.ratio:>6.1f}×")
    print(f"The first mask on a machine takes {compilation_seconds():.1f} s more, to compile.")


def _ours(case: Case, seed: int) -> Mask:
    return poisson(*case, seed=seed, calibration=CALIBRATION)


def _sigpy(case: Case, seed: int) -> np.ndarray:
    import sigpy.mri

    array: np.ndarray = sigpy.mri.poisson(*case, calib=(CALIBRATION, CALIBRATION), seed=seed)
    return array


def _median(draw: Callable[[Case, int], Drawn], case: Case, repeats: int) -> tuple[float, Drawn]:
    """Return the median seconds of `repeats` draws with seeds 0, 1, …, and the last mask."""
    seconds = []
    for seed in range(repeats):
        start = time.perf_counter()
        drawn = draw(case, seed)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), drawn
