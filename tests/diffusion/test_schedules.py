"""Schedules against their formulas."""

from __future__ import annotations

import pytest
import torch

from mrunfold.diffusion import geometric, karras
from mrunfold.errors import InputError


def test_karras_is_equation_5():
    sigmas = karras(18, 0.002, 80.0)
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert sigmas.tolist() == pytest.approx([*expected, 0.0], rel=1e-12)


def test_geometric_has_equal_ratios():
    sigmas = geometric(5, 0.01, 100.0)
    assert sigmas.tolist() == pytest.approx([100.0, 10.0, 1.0, 0.1, 0.01, 0.0])


@pytest.mark.parametrize("schedule", [karras, geometric])
def test_every_schedule_decreases_to_zero(schedule):
    for steps in (1, 2, 7):
        sigmas = schedule(steps, 0.01, 10.0)
        assert sigmas.shape == (steps + 1,)
        assert sigmas[0] == pytest.approx(10.0)
        assert sigmas[-1] == 0
        assert (sigmas[1:] < sigmas[:-1]).all()


@pytest.mark.parametrize("schedule", [karras, geometric])
def test_each_item_may_have_its_own_start(schedule):
    sigmas = schedule(6, 0.01, torch.tensor([1.0, 5.0]))
    assert sigmas.shape == (7, 2)
    torch.testing.assert_close(sigmas[:, 1], schedule(6, 0.01, 5.0))


@pytest.mark.parametrize("schedule", [karras, geometric])
@pytest.mark.parametrize(
    ("steps", "low", "high"), [(0, 0.1, 1.0), (3, 0.0, 1.0), (3, 2.0, 1.0), (3, 0.1, float("inf"))]
)
def test_impossible_levels_are_refused(schedule, steps, low, high):
    with pytest.raises(InputError, match="schedule"):
        schedule(steps, low, high)


def test_karras_refuses_a_rho_that_is_not_positive():
    with pytest.raises(InputError, match="rho"):
        karras(4, 0.1, 1.0, rho=0)
