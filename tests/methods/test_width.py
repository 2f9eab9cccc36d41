"""Draws are as wide as held-out samples say: tried on problems of which the truth is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mrunfold.methods.width import BOUNDS, EXPONENT, held_out_width
from mrunfold.operators import Sense
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import Problem


def problem(coils: int = 4, sigma_y: float = 1e-3) -> tuple[Problem, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 64, 64, dtype=torch.complex64, generator=generator)
    mask = torch.rand(64, 64, generator=generator) < 0.5
    mask[24:40, 24:40] = True
    A = Sense(simulated_maps(coils, (64, 64), generator)[None], mask.float())
    noise = sigma_y * torch.randn(A.range.shape, dtype=torch.complex64, generator=generator)
    return Problem((A(x) + noise) * mask, A, torch.tensor(sigma_y), torch.tensor(1.0)), x


def drawer(truth: torch.Tensor, error: float, spread: float):
    """A method whose mean misses the truth by `error` in each pixel, and whose draws say `spread`."""

    def drawn(given: Problem, split: int):
        generator = torch.Generator().manual_seed(7)
        one = error * torch.randn(truth.shape, dtype=truth.dtype, generator=generator)
        off = spread * torch.randn((8, *truth.shape), dtype=truth.dtype, generator=generator)
        mean = truth + one
        return mean, torch.cat([mean + off, mean - off]), 5

    return drawn


@pytest.mark.parametrize(("error", "spread"), [(0.05, 0.05), (0.08, 0.04), (0.03, 0.05)])
def test_the_factor_is_what_the_draws_lack(error, spread):
    given, truth = problem()
    width, evaluations, said = held_out_width(given, drawer(truth, error, spread), 6, has_noise=False)
    # Six times some 150 points of one error image.
    assert said["held_out_ratio"] == pytest.approx(error / spread, rel=0.08)
    assert width == pytest.approx(said["held_out_ratio"] ** EXPONENT, rel=0.01)
    assert evaluations == 30


def test_noise_of_the_held_out_samples_is_no_error_of_the_mean():
    given, truth = problem(sigma_y=0.1)
    width, _, _ = held_out_width(given, drawer(truth, 0.1, 0.1), 4, has_noise=False)
    assert width == pytest.approx(1, rel=0.06)
    # Images that have noise show a fourth of what four coils have; the draws have it as well.
    more, _, _ = held_out_width(given, drawer(truth, 0.1, 0.1), 4, has_noise=True)
    assert more > 1.02 * width


def test_it_stays_within_bounds():
    given, truth = problem()
    assert held_out_width(given, drawer(truth, 0.5, 0.001), 1, has_noise=False)[0] == BOUNDS[1]
    assert held_out_width(given, drawer(truth, 1e-4, 0.5), 1, has_noise=False)[0] == BOUNDS[0]


def test_where_nothing_can_be_held_out_the_record_says_so():
    given, truth = problem()
    assert isinstance(given.A, Sense)
    batch = replace(given, y=given.y[None], A=Sense(given.A.maps[None], given.A.mask))
    width, evaluations, said = held_out_width(batch, drawer(truth, 1, 1), 2, has_noise=False)
    assert (width, evaluations) == (1.0, 0)
    assert "one slice of k-space" in said["not_widened"]


def test_draws_that_do_not_differ_are_left_as_they_are():
    given, truth = problem()
    width, _, said = held_out_width(given, drawer(truth, 0.1, 0.0), 1, has_noise=False)
    assert width == 1.0
    assert "do not differ" in said["not_widened"]
