"""Every operator of the package keeps the contract."""

from __future__ import annotations

import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.operators import FourierMask, Identity, LinearOperator, Sense, Space
from mrunfold.operators.base import Adjoint, Composed
from mrunfold.testing import OperatorContract, dense_matrix


def random(*shape, dtype, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def size(odd):
    return (5, 3) if odd else (4, 6)


def some(*shape, share=0.5, seed=3):
    """A mask that keeps its first sample."""
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share
    mask[..., :1, :1] = True
    return mask


def maps(*lead, dtype, odd, seed=0):
    """Sensitivities (*batch, set, coil, y, x) = `lead` and a size, with Σ_c |s_c|² = 1."""
    values = random(*lead, *size(odd), dtype=dtype, seed=seed)
    return values / values.abs().square().sum(dim=-3, keepdim=True).sqrt()


class SenseContract(OperatorContract):
    def item(self, operator, index):
        if not operator.batch:
            return operator
        whole = operator.maps.expand(*operator.batch, *operator.maps.shape[-4:])
        mask = operator.mask.expand(*operator.batch, *operator.mask.shape[-2:])
        return Sense(whole[index], mask[index], operator.coil_chunk)


class TestSenseOneSet(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(1, 3, dtype=dtype, odd=odd), some(*size(odd)))


class TestSenseTwoSets(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(2, 4, dtype=dtype, odd=odd), some(*size(odd)))


class TestSenseChunked(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(2, 5, dtype=dtype, odd=odd), some(*size(odd)), coil_chunk=2)


class TestSenseBatchedMaps(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(2, 1, 3, dtype=dtype, odd=odd), some(*size(odd)))


class TestSenseBatchedMask(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(1, 3, dtype=dtype, odd=odd), some(2, *size(odd)))


class TestSenseBatchedBoth(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(2, 2, 3, dtype=dtype, odd=odd), some(2, *size(odd)), coil_chunk=1)


class TestSenseColumns(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(1, 3, dtype=dtype, odd=odd), some(1, size(odd)[1]))


class TestSenseRows(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(1, 3, dtype=dtype, odd=odd), some(size(odd)[0], 1))


class TestSenseFull(SenseContract):
    def operator(self, dtype, odd):
        return Sense(maps(1, 3, dtype=dtype, odd=odd), torch.ones(1, 1))


class TestSenseWeighted(SenseContract):
    """A mask of real weights, as a noise-aware or density-compensated model has it."""

    def operator(self, dtype, odd):
        return Sense(maps(1, 3, dtype=dtype, odd=odd), random(*size(odd), dtype=torch.float64).abs())


class TestFourierMask(OperatorContract):
    def operator(self, dtype, odd):
        return FourierMask(some(*size(odd)), dtype)


class TestFourierMaskBatched(OperatorContract):
    def operator(self, dtype, odd):
        return FourierMask(some(2, *size(odd)), dtype)

    def item(self, operator, index):
        return FourierMask(operator.mask[index], operator.dtype)


class TestIdentity(OperatorContract):
    def operator(self, dtype, odd):
        return Identity((1, *size(odd)), dtype)


class TestIdentityReal(OperatorContract):
    dtypes = (torch.float32, torch.float64)

    def operator(self, dtype, odd):
        return Identity((3, *size(odd)), dtype)


class TestComposed(OperatorContract):
    def operator(self, dtype, odd):
        inner = FourierMask(some(*size(odd), share=0.8), dtype)
        return Sense(maps(1, 3, dtype=dtype, odd=odd), some(*size(odd))) @ inner


class TestComposedBatched(OperatorContract):
    def operator(self, dtype, odd):
        return Sense(maps(2, 1, 3, dtype=dtype, odd=odd), some(*size(odd))) @ Identity((1, *size(odd)), dtype)

    def item(self, operator, index):
        return Sense(operator.outer.maps[index], operator.outer.mask) @ operator.inner


class TestAdjoint(OperatorContract):
    def operator(self, dtype, odd):
        return Adjoint(Sense(maps(1, 3, dtype=dtype, odd=odd), some(*size(odd))))


# --- the contract can fail ---


class Scaled(LinearOperator):
    """c x on images (1, 4, 4), with one thing wrong by choice."""

    def __init__(self, dtype, wrong):
        object.__setattr__(self, "factor", torch.tensor(2.0 - 1.0j, dtype=dtype))
        object.__setattr__(self, "wrong", wrong)

    domain = range = property(lambda self: Space((1, 4, 4), self.factor.dtype))

    def _forward(self, x):
        y = self.factor * x
        if self.wrong == "affine":
            y = y + 1
        if self.wrong == "batch mean":
            y = y + (0.1 * x.mean() if x.ndim > 3 and len(x) > 1 else 0)
        if self.wrong == "in place":
            return x.mul_(self.factor)
        return y

    def _adjoint(self, y):
        return y * (self.factor if self.wrong == "no conjugate" else self.factor.conj())

    def _normal(self, x):
        return x * self.factor.abs() ** (1 if self.wrong == "normal" else 2)

    def observed(self):
        seen = super().observed()
        return ~seen if self.wrong == "observed" else seen

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        weight = weight.mean() * torch.ones_like(weight) if self.wrong == "mean weight" else weight
        return super()._solve(rhs, weight, shift, x0, 1.0 if self.wrong == "no steps" else tolerance, steps)


WRONG = {
    "affine": lambda c: c.test_the_operator_is_linear(torch.complex128, False),
    "no conjugate": lambda c: c.test_the_adjoint_is_the_adjoint(torch.complex128, False),
    "normal": lambda c: c.test_normal_is_adjoint_after_forward(torch.complex128, False),
    "batch mean": lambda c: c.test_an_item_does_not_depend_on_its_batch("forward", False),
    "in place": lambda c: c.test_nothing_changes(torch.complex128),
    "mean weight": lambda c: c.test_weight_and_shift_are_of_each_item(False),
    "observed": lambda c: c.test_nothing_is_measured_where_it_says_so(torch.complex128, False),
    "no steps": lambda c: c.test_solve_agrees_with_a_dense_matrix(torch.complex128, False),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_contract_fails_an_operator_with(wrong):
    class Contract(OperatorContract):
        fault = wrong

        def operator(self, dtype, odd):
            return Scaled(dtype, self.fault)

    contract = Contract()
    with pytest.raises(AssertionError):
        WRONG[wrong](contract)
    contract.fault = None
    WRONG[wrong](contract)


def test_dense_matrix_of_a_known_operator():
    matrix = dense_matrix(FourierMask(torch.ones(2, 2), torch.complex128))
    assert matrix.shape == (4, 4)
    # centred at pixel 1: F = ½ (−1)^{(k−1)(n−1)} along each axis
    one = torch.tensor([[-1.0, 1.0], [1.0, 1.0]], dtype=torch.complex128) / 2**0.5
    torch.testing.assert_close(matrix, torch.kron(one, one))


def test_bad_operators_are_refused():
    good = maps(1, 3, dtype=torch.complex64, odd=False)
    for arguments in (
        (good[0], some(4, 6)),
        (good.real, some(4, 6)),
        (good, some(4, 5)),
        (good, torch.ones(6)),
        (good.expand(2, -1, -1, -1, -1), some(3, 4, 6)),
        (good, some(4, 6), 0),
    ):
        with pytest.raises(InputError):
            Sense(*arguments)
    with pytest.raises(InputError):
        FourierMask(torch.ones(3))
    with pytest.raises(InputError, match="cannot compose"):
        Composed(Sense(good, some(4, 6)), Sense(good, some(4, 6)))
    a = Sense(good.expand(2, -1, -1, -1, -1), some(4, 6))
    b = FourierMask(some(3, 4, 6))
    with pytest.raises(InputError, match="different batches"):
        a @ b
    with pytest.raises(TypeError):
        a @ 3.0
