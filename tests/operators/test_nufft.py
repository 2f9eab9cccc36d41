"""The operator off the grid: the contract, a sum by hand, the grid as a special case."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mrunfold.coils.trajectory import density_weights
from mrunfold.errors import InputError
from mrunfold.operators import Nufft, Sense, stack
from mrunfold.operators.norm import norm_squared
from mrunfold.testing import OperatorContract


def random(*shape, dtype, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def points(*lead, size, seed=1):
    share = torch.rand(*lead, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return share * torch.tensor(size, dtype=torch.float64)


def grid(size):
    ky, kx = (torch.arange(n, dtype=torch.float64) - n // 2 for n in size)
    return torch.stack(torch.meshgrid(ky, kx, indexing="ij"), dim=-1)


def radial(spokes, readout, size):
    r = (np.arange(readout) - readout // 2 + 0.5) * size / readout
    angle = np.pi * np.arange(spokes) / spokes
    return np.stack([r[:, None] * np.sin(angle), r[:, None] * np.cos(angle)], axis=-1)


class TestContract(OperatorContract):
    def operator(self, dtype, odd):
        size = (5, 3) if odd else (4, 6)
        weights = torch.rand(6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        weights[0, 0] = 0
        return Nufft(random(2, 3, *size, dtype=dtype) / 9, points(6, 4, size=size), weights)


@pytest.mark.parametrize("size", [(5, 6), (8, 7)])
def test_it_is_the_sum(size):
    maps, k = random(2, 3, *size, dtype=torch.complex128), points(9, size=size)
    weights = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x = random(2, *size, dtype=torch.complex128, seed=4)
    r, c = ((torch.arange(n, dtype=torch.float64) - n // 2) / n for n in size)
    phase = torch.exp(-2j * math.pi * (k[:, 0, None, None] * r[:, None] + k[:, 1, None, None] * c))
    expected = torch.einsum("scyx,syx,myx->cm", maps, x, phase) * weights.sqrt() / math.sqrt(math.prod(size))
    assert (Nufft(maps, k, weights)(x) - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.parametrize("size", [(12, 10), (9, 14)])
def test_on_the_grid_it_is_sense(size):
    """Every point of the grid, each with the weight of its mask: the same operator, its samples in rows."""
    mask = torch.rand(*size, generator=torch.Generator().manual_seed(5)) < 0.5
    maps, x = random(1, 3, *size, dtype=torch.complex64), random(1, *size, dtype=torch.complex64, seed=6)
    ours, theirs = Nufft(maps, grid(size), mask.float()), Sense(maps, mask)
    assert torch.allclose(ours(x), theirs(x), atol=2e-5)
    assert torch.allclose(ours.normal(x), theirs.normal(x), atol=2e-5)
    assert float(ours.measured_fraction()) == pytest.approx(float(theirs.measured_fraction()))
    y = theirs(x)
    assert int(ours.samples(y)) == int(theirs.samples(y))


def test_a_batch_of_two_is_each_of_them():
    a, b = (Nufft(random(1, 2, 6, 6, dtype=torch.complex64, seed=n), points(11, size=(6, 6))) for n in (1, 2))
    x = random(2, 1, 6, 6, dtype=torch.complex64)
    both = stack([a, b])
    assert torch.allclose(both(x), torch.stack([a(x[0]), b(x[1])]))
    assert both.samples(both(x)).tolist() == [22, 22]
    assert both.coil_maps().shape == (2, 1, 2, 6, 6)


def test_without_some_samples():
    A = Nufft(random(1, 2, 6, 6, dtype=torch.complex64), points(5, 4, size=(6, 6)))
    there = torch.zeros(5, 4, dtype=torch.bool)
    there[:, 1] = True
    y = A.without(there)(random(1, 6, 6, dtype=torch.complex64))
    assert not y[..., 1].any()
    assert y[..., 0].all()


@pytest.mark.parametrize(("spokes", "readout"), [(101, 64), (101, 128), (20, 64)])
def test_density_makes_dense_samples_one_and_lone_ones_at_most_one(spokes, readout):
    size = 64
    k = radial(spokes, readout, size)
    weights = density_weights(k, np.ones(k.shape[:2], bool), (size, size))
    assert 0 < weights.min() <= weights.max() <= 1
    A = Nufft(
        torch.ones(1, 1, size, size, dtype=torch.complex64), torch.from_numpy(k), torch.from_numpy(weights)
    )
    assert norm_squared(A) < 2
    row = (torch.arange(size) - size // 2) / size
    inside = 0.5 * min(spokes / math.pi, size / 2)  # where k-space is fully sampled
    for f in (2, round(inside)):
        wave = torch.exp(2j * math.pi * f * row).expand(1, size, size).to(torch.complex64)
        energy = float((wave.conj() * A.normal(wave)).sum().real) / size**2
        assert energy == pytest.approx(1, abs=0.05), f"a wave of {f} cycles is weighted {energy:.3f}"
    assert weights.sum() / size**2 <= math.pi / 4 * 1.1


def test_density_of_a_full_grid_is_one():
    k = grid((16, 16)).numpy()
    assert density_weights(k, np.ones((16, 16), bool), (16, 16)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("maps", "k", "weights", "words"),
    [
        (torch.ones(2, 4, 4, dtype=torch.complex64), torch.zeros(3, 2), None, "set axis"),
        (torch.ones(1, 1, 4, 4, dtype=torch.complex64), torch.zeros(3, 3), None, "ky, kx"),
        (torch.ones(1, 1, 4, 4, dtype=torch.complex64), torch.full((3, 2), 9.0), None, "cycles per field"),
        (torch.ones(1, 1, 4, 4, dtype=torch.complex64), torch.zeros(3, 2), torch.ones(4), "one for each"),
        (torch.ones(1, 1, 4, 4, dtype=torch.complex64), torch.zeros(3, 2), -torch.ones(3), "≥ 0"),
    ],
)
def test_what_cannot_be_is_refused(maps, k, weights, words):
    with pytest.raises(InputError, match=words):
        Nufft(maps, k, weights)


def test_gradients_go_through():
    A = Nufft(random(1, 2, 4, 5, dtype=torch.complex128), points(7, size=(4, 5)))
    x = random(1, 4, 5, dtype=torch.complex128, seed=8).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: torch.view_as_real(A(v)), (x,), atol=1e-6)
