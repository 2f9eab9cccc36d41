"""The continuous ranked probability score against its definition and the closed form of a Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.metrics import crps, crps_normal


def test_it_is_its_definition():
    rng = np.random.default_rng(0)
    samples, target = rng.normal(size=(7, 3, 4)), rng.normal(size=(3, 4))
    pairs = np.abs(samples[:, None] - samples[None]).mean(axis=(0, 1))
    np.testing.assert_allclose(crps(target, samples), np.abs(samples - target).mean(axis=0) - pairs / 2)


def test_one_draw_is_its_absolute_error():
    assert crps(np.array([1.0, 5.0]), np.array([[3.0, 4.0]])).tolist() == [2.0, 1.0]


def test_many_draws_of_a_gaussian_give_its_closed_form():
    """σ(z(2Φ(z) − 1) + 2φ(z) − 1/√π), z = (t − μ)/σ: Gneiting et al., Mon. Weather Rev. 133 (2005) 1098."""
    draws = 0.3 * np.random.default_rng(1).normal(size=(20000, 1))
    for t in (0.0, 0.2, -0.9):
        z = t / 0.3
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        exact = 0.3 * (z * math.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
        assert crps(np.array([t]), draws)[0] == pytest.approx(exact, abs=0.004)


@pytest.mark.parametrize("samples", [np.zeros((2, 3)), np.zeros((0, 2)), np.full((2, 2), np.nan)])
def test_what_cannot_be_scored_is_refused(samples):
    with pytest.raises(InputError):
        crps(np.zeros(2), samples)


def test_of_a_gaussian_it_is_what_its_draws_give():
    rng = np.random.default_rng(2)
    target, mean, sd = (
        np.array([0.0, 0.2, -0.9, 0.5]),
        np.array([0.1, 0.0, 0.0, 0.4]),
        np.array([0.3, 0.1, 0.5, 0.0]),
    )
    draws = mean + sd * rng.normal(size=(40000, 4))
    np.testing.assert_allclose(crps_normal(target, mean, sd), crps(target, draws), atol=0.004)
    assert crps_normal(target, mean, sd)[3] == pytest.approx(0.1)


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError):
        crps_normal(np.zeros(2), np.zeros(2), np.zeros(3))
