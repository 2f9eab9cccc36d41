"""Muon: equal singular values, updates of Adam's size, Adam itself for vectors, and a state that resumes."""

import copy

import pytest
import torch
from torch import nn

from mrunfold.training.muon import Muon, orthogonal


def matrices(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40, 72), (72, 40), (3, 8, 27), (16, 1)])
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e5])
def test_singular_values_become_nearly_equal_and_vectors_stay(shape, size):
    g = matrices(*shape) * size
    u, s, vt = torch.linalg.svd(g, full_matrices=False)
    found = orthogonal(g)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.5 or float(s.min() / s.max()) < 0.02
    assert float(values.max()) < 1.3
    # In the singular vectors of g it is diagonal: only the values changed.
    inside = u.mT @ found @ vt.mT
    off = inside - torch.diag_embed(torch.diagonal(inside, dim1=-2, dim2=-1))
    assert float(off.abs().max()) < 1e-3


def test_nothing_comes_of_nothing():
    assert not orthogonal(torch.zeros(2, 5, 7)).any()


@pytest.mark.parametrize("size", [1e-6, 1e3])
def test_an_update_is_as_large_as_adams_whatever_the_gradient(size):
    weight = nn.Parameter(torch.zeros(40, 72, 3, 3))
    optimiser = Muon([{"params": [weight]}], lr=0.01)
    weight.grad = matrices(40, 72, 3, 3) * size
    optimiser.step()
    rms = float(weight.detach().square().mean().sqrt())
    # 40 equal singular values in 40 × 648 entries: rms 1/√648 times 0.2·√648.
    assert 0.7 * 0.002 < rms < 1.2 * 0.002
    assert float((weight.detach() * weight.grad).sum()) < 0


def test_vectors_are_left_to_adam():
    ours, theirs = (nn.Parameter(matrices(6, 5)) for _ in range(2))
    muon = Muon([{"params": [ours], "lr": 1e-2, "matrices": False}])
    adam = torch.optim.Adam([theirs], lr=1e-2)
    for step in range(5):
        ours.grad = matrices(6, 5, seed=step)
        theirs.grad = ours.grad.clone()
        muon.step()
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_resumed_optimiser_takes_the_same_steps():
    weight, bias = nn.Parameter(matrices(8, 4, 3, 3)), nn.Parameter(matrices(8))

    def made(parameters):
        kernel, vector = parameters
        return Muon([{"params": [kernel]}, {"params": [vector], "matrices": False}])

    def step(parameters, optimiser, seed):
        for i, p in enumerate(parameters):
            p.grad = matrices(*p.shape, seed=seed + i)
        optimiser.step()

    first = (weight, bias)
    optimiser = made(first)
    step(first, optimiser, 1)
    second = tuple(nn.Parameter(p.detach().clone()) for p in first)
    resumed = made(second)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    step(first, optimiser, 2)
    step(second, resumed, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
