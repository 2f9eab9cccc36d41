"""Further passes of the mean, and the noise levels that the network takes."""

from __future__ import annotations

import itertools
import math

import torch
from unrolled import network, noise, sense, tensor

from mrunfold.networks import posterior
from mrunfold.networks.posterior import SIGMA_OF_MEAN, PosteriorDenoiser, root_mean_square
from mrunfold.operators import Sense
from mrunfold.problem import Problem
from mrunfold.protocols import NetworkSpec, PriorSpec

# --- further passes ---


def test_a_further_pass_begins_at_the_mean_before_it():
    A, sigma_y = sense(batch=2), tensor(0.01, 0.05)
    y = A(noise((2, *A.domain.shape), seed=1))
    net = network()
    first = net(None, tensor(math.inf, math.inf), y, A, sigma_y)
    second = net(first, tensor(SIGMA_OF_MEAN, SIGMA_OF_MEAN), y, A, sigma_y)
    problem = Problem(y, A, sigma_y, torch.ones(2))
    assert torch.equal(net.mean(problem), first)
    assert torch.equal(net.mean(problem, passes=2), second)
    assert not torch.allclose(first, second, atol=1e-4)


def test_an_item_ends_where_a_pass_changed_its_mean_little(monkeypatch):
    A, sigma_y = sense(batch=2), tensor(0.01, 0.05)
    y = A(noise((2, *A.domain.shape), seed=1))
    net = network()
    net.passes = 4
    steps = [net.mean_of(y, A, sigma_y, passes=n) for n in (1, 2, 3, 4)]
    moved = [root_mean_square((b - a).detach(), A.domain.ndim) for a, b in itertools.pairwise(steps)]
    assert not torch.allclose(moved[0][0], moved[0][1])
    # Between the two items' first changes: one ends after two evaluations, the other goes on.
    monkeypatch.setattr(posterior, "PASS_END", float(moved[0].mean()))
    ends = 2 + (moved[0] > moved[0].mean()) * (1 + (moved[1] > moved[0].mean()))
    mean, evaluations = net.mean_and_evaluations(y, A, sigma_y)
    assert evaluations.tolist() == ends.tolist()
    assert evaluations.min() == 2 < evaluations.max()
    for n, end in enumerate(ends):
        assert torch.equal(mean[n], steps[int(end) - 1][n])


def test_an_item_takes_as_many_evaluations_alone_as_among_others():
    A, sigma_y = sense(batch=2), tensor(0.01, 0.05)
    y = A(noise((2, *A.domain.shape), seed=1))
    net = network()
    net.passes = 3
    together = net.mean_and_evaluations(y, A, sigma_y)
    for n in range(2):
        alone = net.mean_and_evaluations(y[n], Sense(A.maps[n], A.mask[n]), sigma_y[n])
        torch.testing.assert_close(alone[0], together[0][n])
        assert alone[1] == together[1][n]


def test_weights_say_how_many_passes_they_are_for():
    spec = NetworkSpec(blocks=1, shared=True, passes=2, prior=PriorSpec(widths=(4, 4), blocks=1))
    assert PosteriorDenoiser.from_spec(spec).passes == 2
    assert PosteriorDenoiser.from_spec(spec.model_copy(update={"passes": None})).passes == 1


# --- noise levels below those of training ---


def test_a_level_below_the_least_of_training_is_taken_as_that_one():
    A, state = sense(batch=2), tensor(math.inf, math.inf)
    y = A(noise((2, *A.domain.shape), seed=1))
    net = network()
    net.sigma_y_min = 0.02
    low, least, above = (net(None, state, y, A, tensor(s, s)) for s in (1e-5, 0.02, 0.04))
    assert torch.equal(low, least)
    assert not torch.allclose(least, above, atol=1e-5)


def test_weights_say_the_least_level_of_their_training():
    spec = NetworkSpec(blocks=1, shared=True, sigma_y_min=0.001, prior=PriorSpec(widths=(4, 4), blocks=1))
    assert PosteriorDenoiser.from_spec(spec).sigma_y_min == 0.001
    assert PosteriorDenoiser.from_spec(spec.model_copy(update={"sigma_y_min": None})).sigma_y_min == 0.0
