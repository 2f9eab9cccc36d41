"""How far the written magnitude may be off: of posterior draws, or as the method predicts it."""

from __future__ import annotations

import numpy as np

from mrunfold.methods.base import Result
from mrunfold.metrics import sample_interval
from mrunfold.pipeline.magnitude import magnitude, magnitude_sd
from mrunfold.problem import Problem, TargetKind

__all__ = ["draws_of", "origin", "uncertainty_maps"]


def draws_of(result: Result, problem: Problem, kind: TargetKind, share: float) -> np.ndarray | None:
    """Return magnitudes (draw, y, x) of the samples (draw, set, y, x), in the file's scale."""
    if result.samples is None:
        return None
    return np.stack([magnitude(sample, problem, kind, share) for sample in result.samples])


def uncertainty_maps(
    result: Result, draws: np.ndarray | None, problem: Problem, kind: TargetKind, share: float
) -> dict[str, np.ndarray]:
    """Return maps (y, x) by name: of the spread of draws (draw, y, x), else `std` as predicted, else none."""
    if draws is not None:
        low, high = sample_interval(draws, 0.9)
        return {"std": draws.std(axis=0, ddof=1), "quantile_05": low, "quantile_95": high}
    if result.predicted_sd is None:
        return {}
    return {"std": magnitude_sd(result.mean, result.predicted_sd, problem, kind, share)}


def origin(result: Result) -> str | None:
    """Return in words where maps of uncertainty come from, None where there are none."""
    if result.samples is not None:
        return f"from {len(result.samples)} draws"
    return None if result.predicted_sd is None else "predicted in one evaluation"
