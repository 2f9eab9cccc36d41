"""Conjugate gradients item by item, and the operator norm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from norms import operator_norm

from mrunfold.solvers import Start, conjugate_gradient, inner, two_shifts


def random(*shape, dtype=torch.complex128, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def matrix_with(eigenvalues, dtype=torch.complex128):
    q, _ = torch.linalg.qr(random(len(eigenvalues), len(eigenvalues), dtype=dtype, seed=5))
    return (q * torch.tensor(eigenvalues, dtype=torch.float64)) @ q.mH


def normal_of(matrix):
    return lambda x: x @ matrix.mT


def ones(n):
    return torch.ones(n, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_solution_is_the_dense_one(dtype):
    matrix, rhs = matrix_with(np.linspace(0, 3, 8), dtype), random(3, 8, dtype=dtype)
    weight, shift = torch.tensor([0.5, 1.0, 8.0]).double(), torch.tensor([1.0, 0.1, 2.0]).double()
    solution = conjugate_gradient(normal_of(matrix), rhs, weight, shift, 1, tolerance=1e-12)
    for i in range(3):
        system = weight[i] * matrix + shift[i] * torch.eye(8)
        torch.testing.assert_close(solution.x[i], torch.linalg.solve(system, rhs[i]))
    assert solution.converged.all()


def test_each_item_stops_by_itself():
    """A system with k distinct eigenvalues takes k steps, whatever the items beside it take."""
    matrix = matrix_with([0.0, 0.0, 1.0, 2.0, 4.0, 7.0, 11.0, 13.0])
    weight, shift = torch.tensor([0.0, 1.0]).double(), ones(2)
    solution = conjugate_gradient(normal_of(matrix), random(2, 8), weight, shift, 1, tolerance=1e-9)
    assert solution.iterations.tolist() == [1, 7]


def test_each_item_has_a_tolerance_of_its_own():
    matrix, rhs = matrix_with(np.linspace(0.1, 1, 20)), random(1, 20).expand(3, 20)
    asked = torch.tensor([1e-1, 1e-3, 1e-6]).double()
    solution = conjugate_gradient(normal_of(matrix), rhs, ones(3), ones(3), 1, tolerance=asked)
    assert (solution.residual <= asked).all()
    assert solution.converged.all()
    assert solution.iterations[0] < solution.iterations[1] < solution.iterations[2]


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
def test_an_item_is_the_same_in_any_batch(tolerance):
    # Well conditioned: conjugate gradients amplify round-off with the condition number.
    matrix = matrix_with(np.linspace(0.5, 1, 20))
    rhs = random(5, 20) * torch.logspace(-4, 4, 5, dtype=torch.float64)[:, None]
    weight, shift = torch.logspace(0, 3, 5, dtype=torch.float64), 10 * ones(5)
    together = conjugate_gradient(normal_of(matrix), rhs, weight, shift, 1, tolerance=tolerance)
    for i in range(5):
        at = slice(i, i + 1)
        alone = conjugate_gradient(normal_of(matrix), rhs[at], weight[at], shift[at], 1, tolerance=tolerance)
        assert alone.iterations[0] == together.iterations[i]
        torch.testing.assert_close(
            alone.x[0], together.x[i], rtol=1e-9, atol=1e-12 * float(rhs[i].abs().max())
        )
    assert len(set(together.iterations.tolist())) > 1, "all items took the same steps: nothing was tested"


def test_a_solve_knows_the_normal_operator_of_its_solution_and_the_next_begins_without_one():
    matrix, rhs = matrix_with(np.geomspace(1e-2, 1, 30)), random(2, 30)
    rhs[1] = 0  # an item whose solution is zero, whatever the start
    calls = []

    def normal(x):
        calls.append(None)
        return x @ matrix.mT

    first = conjugate_gradient(normal, rhs, ones(2), 0.01 * ones(2), 1, tolerance=0, max_iterations=4)
    torch.testing.assert_close(first.normal, first.x @ matrix.mT)
    assert isinstance(first.start, Start)
    calls.clear()
    changed = random(2, 30, seed=3)
    arguments = normal, changed, 2 * ones(2), 0.3 * ones(2), 1
    known = conjugate_gradient(*arguments, x0=first.start, tolerance=0, max_iterations=3)
    assert len(calls) == 3
    plain = conjugate_gradient(*arguments, x0=first.x, tolerance=0, max_iterations=3)
    assert len(calls) == 3 + 4
    torch.testing.assert_close(known.x, plain.x)
    torch.testing.assert_close(known.normal, known.x @ matrix.mT)


def test_items_may_have_several_batch_and_item_axes():
    rhs = random(2, 3, 4, 5)
    weight = torch.tensor([1.0, 2.0, 3.0]).double().expand(2, 3)
    solution = conjugate_gradient(lambda x: 2 * x, rhs, weight, 0.5 * torch.ones(2, 3).double(), 2)
    torch.testing.assert_close(solution.x, rhs / (2 * weight + 0.5)[..., None, None])
    assert solution.iterations.shape == (2, 3)


def test_a_warm_start_saves_steps_and_changes_nothing_else():
    matrix, rhs = matrix_with(np.geomspace(1e-2, 1, 30)), random(1, 30)
    arguments = normal_of(matrix), rhs, ones(1), 0.01 * ones(1), 1
    cold = conjugate_gradient(*arguments, tolerance=1e-8)
    warm = conjugate_gradient(*arguments, x0=cold.x + 1e-6 * random(1, 30, seed=2), tolerance=1e-8)
    assert 0 < warm.iterations[0] < cold.iterations[0]
    torch.testing.assert_close(warm.x, cold.x, rtol=1e-6, atol=1e-7)
    assert conjugate_gradient(*arguments, x0=cold.x, tolerance=1e-7).iterations.tolist() == [0]


@pytest.mark.parametrize("x0", [None, torch.ones(2, 3, dtype=torch.float64)])
def test_a_zero_right_hand_side_has_the_solution_zero(x0):
    rhs = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]).double()
    solution = conjugate_gradient(lambda x: 3 * x, rhs, ones(2), ones(2), 1, x0)
    assert torch.equal(solution.x[0], rhs[0])
    torch.testing.assert_close(solution.x[1], rhs[1] / 4)
    assert solution.residual[0] == 0
    assert solution.iterations[0] == 0
    assert solution.converged.all()


def test_the_statistics_are_true():
    matrix, rhs = matrix_with(np.geomspace(1e-4, 1, 40)), random(2, 40)
    weight, shift = torch.tensor([1.0, 1e4]).double(), torch.tensor([10.0, 1e-2]).double()
    solution = conjugate_gradient(normal_of(matrix), rhs, weight, shift, 1, tolerance=1e-5, max_iterations=6)
    left = weight[:, None] * normal_of(matrix)(solution.x) + shift[:, None] * solution.x
    torch.testing.assert_close(
        solution.residual, (left - rhs).norm(dim=1) / rhs.norm(dim=1), rtol=1e-4, atol=0
    )
    assert solution.converged.tolist() == [True, False]
    assert solution.iterations[1] == 6
    assert (solution.residual <= 1e-5).tolist() == solution.converged.tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_what_is_not_a_number_has_not_converged_and_harms_no_neighbour(bad):
    rhs = torch.ones(2, 3).double()
    rhs[0, 0] = bad
    solution = conjugate_gradient(lambda x: 3 * x, rhs, ones(2), ones(2), 1)
    assert solution.converged.tolist() == [False, True]
    torch.testing.assert_close(solution.x[1], rhs[1] / 4)


def test_arguments_are_left_alone():
    rhs, x0 = random(2, 4), random(2, 4, seed=1)
    kept = rhs.clone(), x0.clone()
    conjugate_gradient(lambda x: 3 * x, rhs, ones(2), ones(2), 1, x0)
    assert torch.equal(rhs, kept[0])
    assert torch.equal(x0, kept[1])


def test_inner_is_the_real_part_of_the_complex_product():
    a, b = random(3, 4, 5), random(3, 4, 5, seed=1)
    torch.testing.assert_close(inner(a, b, 2), (a.conj() * b).sum(dim=(-2, -1)).real)
    torch.testing.assert_close(inner(a.real, b.real, 1), (a.real * b.real).sum(dim=-1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_norm_is_the_largest_singular_value(dtype):
    a = random(7, 5, dtype=dtype)
    expected = np.linalg.svd(a.numpy(), compute_uv=False)[0]
    x = random(3, 5, dtype=dtype, seed=1) * torch.tensor([1e-3, 1.0, 1e3]).double()[:, None]
    norms = operator_norm(normal_of(a.mH @ a), x, 1, iterations=300)
    np.testing.assert_allclose(norms.numpy(), [expected] * 3, rtol=1e-6)


def test_the_norm_of_zero_is_zero():
    assert operator_norm(torch.zeros_like, random(1, 3), 1).tolist() == [0.0]


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_second_shift_takes_the_steps_of_its_own_conjugate_gradients(steps):
    normal, rhs = normal_of(matrix_with(np.linspace(0, 3, 30))), random(2, 30)
    shift, further = torch.tensor([0.01, 0.3]).double(), torch.tensor([0.2, 0.3]).double()
    first, other = two_shifts(normal, rhs, shift, further, 1, 1e-12, steps)
    for found, own in ((first.x, shift), (other, further)):
        expected = conjugate_gradient(normal, rhs, ones(2), own, 1, tolerance=0.0, max_iterations=steps)
        torch.testing.assert_close(found, expected.x)
    torch.testing.assert_close(first.normal, normal(first.x))


def test_a_second_shift_ends_with_the_first_item_by_item():
    normal, rhs = normal_of(matrix_with(np.linspace(0, 3, 30))), random(3, 30)
    rhs[1] = 0
    first, other = two_shifts(normal, rhs, 0.1 * ones(3), ones(3), 1, torch.tensor([0.1, 0.1, 1e-3]))
    assert first.converged.all()
    assert first.iterations[1] == 0
    assert not other[1].any()
    assert first.iterations[0] < first.iterations[2]
    for i in (0, 2):
        steps = int(first.iterations[i])
        alone = conjugate_gradient(
            normal, rhs[i : i + 1], ones(1), ones(1), 1, tolerance=0.0, max_iterations=steps
        )
        torch.testing.assert_close(other[i], alone.x[0])
