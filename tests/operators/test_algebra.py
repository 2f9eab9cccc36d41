"""Operators add, scale, compose and stack, and answer what methods and images ask of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.methods import get_method
from mrunfold.operators import Batched, Coils, FourierMask, Identity, LinearOperator, Sense, Space, stack
from mrunfold.operators.base import Scaled, Sum
from mrunfold.operators.imaging import Inpaint
from mrunfold.pipeline.slices import magnitude
from mrunfold.problem import Problem, collate, rescale
from mrunfold.testing import OperatorContract, dense_matrix


def random(*shape, dtype=torch.complex128, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def size(odd):
    return (5, 3) if odd else (4, 6)


def some(*shape, seed=3):
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[..., :1, :1] = True
    return mask


class TestCoils(OperatorContract):
    def operator(self, dtype, odd):
        return Coils(random(2, 3, *size(odd), dtype=dtype) / 3)


class TestCoilsBatched(OperatorContract):
    def operator(self, dtype, odd):
        return Coils(random(2, 1, 3, *size(odd), dtype=dtype) / 3)

    def item(self, operator, index):
        return Coils(operator.maps[index])


class TestFourierMaskOfCoils(OperatorContract):
    def operator(self, dtype, odd):
        return FourierMask(some(*size(odd)), dtype, coils=2)


class TestFourierAfterCoils(OperatorContract):
    def operator(self, dtype, odd):
        maps = random(2, 3, *size(odd), dtype=dtype) / 3
        return FourierMask(some(*size(odd)), dtype, coils=3) @ Coils(maps)


class TestSum(OperatorContract):
    def operator(self, dtype, odd):
        one = FourierMask(some(*size(odd)), dtype)
        return one + FourierMask(some(*size(odd), seed=4), dtype)


class TestScaled(OperatorContract):
    def operator(self, dtype, odd):
        return (0.5 - 1j) * FourierMask(some(*size(odd)), dtype)


class TestScaledSense(OperatorContract):
    def operator(self, dtype, odd):
        return -2 * Sense(random(1, 3, *size(odd), dtype=dtype) / 3, some(*size(odd)))


class TestScaledReal(OperatorContract):
    dtypes = (torch.float32, torch.float64)

    def operator(self, dtype, odd):
        return Inpaint(some(*size(odd)), 2, dtype) * 3


class TestBatched(OperatorContract):
    def operator(self, dtype, odd):
        return Batched((FourierMask(some(*size(odd)), dtype), 2 * Identity((1, *size(odd)), dtype)))

    def item(self, operator, index):
        return operator.operators[index[0]]


def test_sense_is_fourier_after_coils():
    maps, mask = random(2, 5, 6, 7), some(6, 7)
    fast, plain = Sense(maps, mask), FourierMask(mask, torch.complex128, coils=5) @ Coils(maps)
    torch.testing.assert_close(dense_matrix(fast), dense_matrix(plain))
    mixing = random(5, 5, seed=1)
    torch.testing.assert_close(fast.coil_gain(mixing), plain.coil_gain(mixing))
    torch.testing.assert_close(fast.combine(maps[0]), plain.combine(maps[0]))
    assert torch.equal(fast.observed(), plain.observed())
    assert (fast.domain, fast.range) == (plain.domain, plain.range)


def test_the_algebra_is_that_of_matrices():
    a, b = FourierMask(some(4, 5), torch.complex128), FourierMask(some(4, 5, seed=4), torch.complex128)
    A, B = dense_matrix(a), dense_matrix(b)
    for operator, matrix in (
        (a + b, A + B),
        (a - b, A - B),
        (-a, -A),
        (2j * a, 2j * A),
        (a * 3, 3 * A),
        (a @ b, A @ B),
        (a.H, A.mH),
        ((a @ b + 2 * a).H, (A @ B + 2 * A).mH),
    ):
        torch.testing.assert_close(dense_matrix(operator), matrix)


def test_what_cannot_be_added_or_scaled_is_refused():
    a = FourierMask(some(4, 5))
    with pytest.raises(InputError, match="cannot add"):
        a + FourierMask(some(5, 4))
    with pytest.raises(InputError, match="different batches"):
        FourierMask(some(2, 4, 5)) + FourierMask(some(3, 4, 5))
    with pytest.raises(InputError, match="is real"):
        1j * Inpaint(some(4, 5))
    for other in (3.0, "a", torch.ones(2)):
        with pytest.raises(TypeError):
            a + other
    with pytest.raises(TypeError):
        a * torch.ones(2)


def test_gain_and_noise_of_scaled_operators():
    sense = Sense(random(1, 3, 4, 5), some(4, 5))
    torch.testing.assert_close((2j * sense).coil_gain(), 2 * sense.coil_gain())
    sigma = torch.tensor(0.3, dtype=torch.float64)
    matrix = dense_matrix(FourierMask(some(4, 5), torch.complex128))
    noise = (2j * FourierMask(some(4, 5), torch.complex128)).adjoint_noise(sigma)
    torch.testing.assert_close(noise, 2 * sigma * torch.linalg.matrix_norm(matrix).to(noise))


@dataclass(frozen=True, eq=False, repr=False)
class Points(LinearOperator):
    """A user's own: Fourier transform at any frequencies (point, axis), in cycles per pixel, as a matrix."""

    points: torch.Tensor
    shape: tuple[int, int]
    dtype: torch.dtype = torch.complex64

    @property
    def matrix(self):
        y, x = (torch.arange(n) - n // 2 for n in self.shape)
        turns = self.points[:, :1] @ y.to(self.points)[None], self.points[:, 1:] @ x.to(self.points)[None]
        rows, columns = (torch.exp(-2j * torch.pi * t) for t in turns)
        return (rows[:, :, None] * columns[:, None]).flatten(1).to(self.dtype) / self.shape[0]

    domain = property(lambda self: Space((1, *self.shape), self.dtype))
    range = property(lambda self: Space((len(self.points),), self.dtype))

    def _forward(self, x):
        return x.flatten(start_dim=-3) @ self.matrix.T

    def _adjoint(self, y):
        return (y @ self.matrix.conj()).unflatten(-1, self.domain.shape)


def points_problem(seed, sigma=0.01):
    generator = torch.Generator().manual_seed(seed)
    A = Points(torch.rand(200, 2, generator=generator) - 0.5, (12, 10))
    x = torch.zeros(1, 12, 10, dtype=torch.complex64)
    x[:, 3:9, 2:8] = 1
    y = A(x) + sigma * torch.randn(200, dtype=torch.complex64, generator=generator)
    y, sigma_y, scale = rescale(y, A, torch.tensor(sigma))
    return Problem(y, A, sigma_y, scale), x


def test_an_operator_of_ones_own_is_collated_and_shown():
    problems = [points_problem(seed)[0] for seed in (1, 2)]
    torch.testing.assert_close(dense_matrix(problems[0].A.H), dense_matrix(problems[0].A).mH)
    batch = collate(problems)
    assert isinstance(batch.A, Batched)
    method = get_method("sense")
    together = method(batch).mean
    for n, problem in enumerate(problems):
        alone = method(problem).mean
        torch.testing.assert_close(together[n], alone)
        image = magnitude(alone, problem, "combined")
        truth = points_problem(n + 1)[1][0].abs().numpy()
        assert np.linalg.norm(image - truth) < 0.2 * np.linalg.norm(truth)
    one = problems[0]
    twice = Problem(2 * one.y, one.A + one.A, one.sigma_y, one.scale)
    same = get_method("sense", lamda=200.0)(twice).mean, get_method("sense", lamda=50.0)(one).mean
    torch.testing.assert_close(*same, rtol=0, atol=2e-3)


def test_operators_of_one_class_are_stacked_in_its_form():
    masks = some(3, 4, 5)
    stacked = stack([FourierMask(mask) for mask in masks])
    assert isinstance(stacked, FourierMask)
    assert torch.equal(stacked.mask, masks.float())
    maps = random(3, 1, 2, 4, 5)
    sense = stack([Sense(one, mask) for one, mask in zip(maps, masks, strict=True)])
    assert isinstance(sense, Sense)
    assert torch.equal(sense.maps, maps)
    assert isinstance(stack([Coils(one) for one in maps]), Coils)


def test_a_subclass_is_not_stacked_as_its_base():
    class Doubled(FourierMask):
        def _forward(self, x):
            return 2 * super()._forward(x)

        def _adjoint(self, y):
            return 2 * super()._adjoint(y)

    operators = [Doubled(mask) for mask in some(2, 4, 5)]
    x = random(2, 1, 4, 5, dtype=torch.complex64)
    together = stack(operators)(x)
    for n, A in enumerate(operators):
        torch.testing.assert_close(together[n], A(x[n]))


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(InputError, match="at least one"):
        stack([])
    with pytest.raises(InputError, match="same spaces"):
        stack([FourierMask(some(4, 5)), FourierMask(some(5, 4))])
    with pytest.raises(InputError, match="batch"):
        stack([FourierMask(some(2, 4, 5))])


def test_scaled_and_sum_are_the_classes_of_the_algebra():
    a = FourierMask(some(4, 5))
    assert isinstance(a + a, Sum)
    assert isinstance(2 * a, Scaled)
    assert (2 * a).to(dtype=torch.complex128).domain.dtype == torch.complex128
