"""Sweeps give a baseline its best weight."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mrunfold.benchmarks.quality.sweep import best_of_sweep
from mrunfold.errors import InputError
from mrunfold.methods import get_method
from mrunfold.problem import Problem


def test_finds_the_weight_nearest_to_the_target(simulate: Callable[..., Problem]) -> None:
    problem = simulate((32, 28))
    assert problem.target is not None
    result, lamda = best_of_sweep("l1_wavelet", problem, problem.target, (10.0, 0.005, 1e-6), max_iter=30)
    assert lamda == 0.005
    assert torch.equal(result.mean, get_method("l1_wavelet", lamda=lamda, max_iter=30)(problem).mean)
    # Asked for the image that a poor weight gives, it returns that weight.
    poor = get_method("l1_wavelet", lamda=10.0, max_iter=30)(problem).mean + 1e-3
    assert best_of_sweep("l1_wavelet", problem, poor, (0.005, 10.0), max_iter=30)[1] == 10.0


def test_an_empty_grid_is_refused(simulate: Callable[..., Problem]) -> None:
    problem = simulate((32, 28))
    with pytest.raises(InputError, match="empty grid"):
        best_of_sweep("tv", problem, problem.y, ())
