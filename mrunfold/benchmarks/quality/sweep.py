"""Baselines at their best: the regularisation weight that suits the target most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.methods import Result, get_method
from mrunfold.metrics import psnr
from mrunfold.problem import Problem

__all__ = ["best_of_sweep"]


def best_of_sweep(
    name: str, problem: Problem, target: Tensor, grid: Sequence[float], **parameters: Any
) -> tuple[Result, float]:
    """Return the Result with the highest PSNR against `target`, and its lamda, over a grid of lamda.

    target: (*batch, set, y, x) in the problem's units, complex or magnitude; PSNR is of magnitudes over the
    whole batch with the target's maximum as data range, images taken as zero where no coil reaches, as they
    are written.  This looks at the answer: it is how a baseline is given its best in a comparison, not how a
    scan is reconstructed.  InputError for an empty grid.
    """
    if not grid:
        raise InputError("a sweep needs at least one lamda to try, got an empty grid")
    truth = target.abs().cpu().numpy()
    peak = float(truth.max())
    support = 1.0 if problem.coil_gain is None else (problem.coil_gain > 0).cpu().numpy()
    best: tuple[float, Result, float] | None = None
    for lamda in grid:
        result = get_method(name, lamda=lamda, **parameters)(problem)
        quality = psnr(truth, result.mean.abs().cpu().numpy() * support, data_range=peak)
        if best is None or quality > best[0]:
            best = (quality, result, lamda)
    assert best is not None
    return best[1], best[2]
