"""Baselines at their best: the regularisation weight that suits the target most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.methods import Result, get_method
from mrunfold.metrics import psnr
from mrunfold.problem import Problem

__all__ = ["best_of_sweep", "sweep"]


def best_of_sweep(
    name: str, problem: Problem, target: Tensor, grid: Sequence[float], **parameters: Any
) -> tuple[Result, float]:
    """Return the Result with the highest PSNR against `target`, and its lamda, over a grid of lamda.

    target: (*batch, set, y, x) in the problem's units, complex or magnitude; PSNR is of magnitudes (root
    sum of squares over sets) over the whole batch with the target's maximum as data range, images taken as
    zero where no coil reaches, as they are written.  This looks at the answer: it is how a baseline is
    given its best in a comparison, not how a scan is reconstructed.  InputError for an empty grid.
    """
    truth = torch.linalg.vector_norm(target, dim=-3).cpu().numpy()
    peak = float(truth.max())
    support = 1.0 if problem.coil_gain is None else (problem.coil_gain[..., 0, :, :] > 0).cpu().numpy()
    found = sweep(name, problem, grid, **parameters)

    def quality(lamda: float) -> float:
        magnitude = torch.linalg.vector_norm(found[lamda].mean, dim=-3).cpu().numpy()
        return psnr(truth, magnitude * support, data_range=peak)

    lamda = max(found, key=quality)
    return found[lamda], lamda


def sweep(name: str, problem: Problem, grid: Sequence[float], **parameters: Any) -> dict[float, Result]:
    """Return the Result of a method for each lamda of a grid; InputError for an empty one."""
    if not grid:
        raise InputError("a sweep needs at least one lamda to try, got an empty grid")
    return {lamda: get_method(name, lamda=lamda, **parameters)(problem) for lamda in grid}
