"""SENSE against the solution of the normal equations as a dense matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mrunfold.methods import get_method
from mrunfold.operators import Identity
from mrunfold.problem import Problem


@pytest.mark.parametrize("coils", [1, 3])
def test_equals_the_dense_solution(coils: int, simulate: Callable[..., Problem]) -> None:
    problem = simulate((9, 8), coils=coils, sigma=0.1)
    basis = torch.eye(72, dtype=torch.complex64).reshape(72, 1, 9, 8)
    dense = problem.A(basis).reshape(72, -1).T
    sigma, lamda = float(problem.sigma_y), 30.0
    normal = dense.mH @ dense / sigma**2 + lamda * torch.eye(72)
    expected = torch.linalg.solve(normal, dense.mH @ problem.y.reshape(-1) / sigma**2).reshape(1, 9, 8)
    mean = get_method("sense", lamda=lamda, tolerance=1e-6)(problem).mean
    torch.testing.assert_close(mean, expected, atol=1e-4, rtol=1e-4)


def test_records_iterations_and_residual_of_each_item(simulate: Callable[..., Problem]) -> None:
    result = get_method("sense", tolerance=1e-3)(simulate())
    assert 1 < result.record["iterations"][0] < 100
    assert 0 < result.record["residual"][0] <= 1e-3
    stopped = get_method("sense", tolerance=0.0, max_iter=3)(simulate())
    assert stopped.record["iterations"] == [3]


def test_the_default_weight_has_a_floor_and_a_given_one_has_not():
    A = Identity((1, 8, 8))
    x = torch.ones(1, 8, 8, dtype=torch.complex64)
    for sigma, expected in ((0.0, 0.003), (0.001, 0.003), (0.1, 0.5)):
        problem = Problem(x, A, torch.tensor(sigma), torch.tensor(1.0))
        mean = get_method("sense")(problem).mean
        torch.testing.assert_close(mean, x / (1 + expected), rtol=1e-4, atol=0)
        mean = get_method("sense", lamda=50.0)(problem).mean
        torch.testing.assert_close(mean, x / (1 + 50 * sigma**2), rtol=1e-4, atol=0)
