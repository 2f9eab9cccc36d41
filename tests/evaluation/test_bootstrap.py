"""Intervals of a mean over volumes."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.evaluation import bootstrap_means


def test_the_interval_of_a_normal_sample_is_the_textbooks():
    values = np.random.default_rng(3).normal(30, 2, 400)
    found = bootstrap_means(values, draws=4000, seed=1)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert found == bootstrap_means(values, draws=4000, seed=1)
    assert found != bootstrap_means(values, draws=4000, seed=2)


def test_it_holds_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        found = bootstrap_means(rng.exponential(1.0, 60), draws=300, seed=trial)
        held += found.low <= 1.0 <= found.high
    assert 0.89 < held / 300 < 0.98  # percentile intervals of skewed samples fall a little short of 0.95


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    bootstrap_means([1.0, 2.0, 3.0], draws=100, seed=0)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_too_little_for_an_interval():
    assert bootstrap_means([2.0], draws=100, seed=0).low is None
    perfect = bootstrap_means([2.0, np.inf], draws=100, seed=0)
    assert (perfect.mean, perfect.low) == (np.inf, None)
    for values, draws in (([], 100), ([1.0, np.nan], 100), ([1.0, 2.0], 10)):
        with pytest.raises(InputError):
            bootstrap_means(values, draws=draws, seed=0)
