"""The mean of a noisy root sum of squares, against draws of it and against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gamma

from mrunfold.coils.rss import effective_coils, expected_rss
from mrunfold.errors import InputError


def drawn(images: np.ndarray, covariance: np.ndarray, draws: int = 200_000) -> float:
    """Mean root sum of squares of coil values (coil,) under noise of `covariance`, by drawing it."""
    rng = np.random.default_rng(5)
    white = rng.standard_normal((2, len(images), draws)) * np.sqrt(0.5)
    noise = np.linalg.cholesky(covariance) @ (white[0] + 1j * white[1])
    return float(np.linalg.norm(images[:, None] + noise, axis=0).mean())


@pytest.mark.parametrize("coils", [1, 2, 7, 40, 128])
@pytest.mark.parametrize("signal", [0.0, 0.3, 2.0, 30.0])
def test_white_noise_against_draws(coils, signal):
    images = signal * np.exp(1j * np.arange(coils)) / np.sqrt(coils)
    sigma = 0.8
    expected = drawn(images, sigma**2 * np.eye(coils), 200_000 if coils < 40 else 20_000)
    found = expected_rss(np.array([signal]), coils * sigma**2, coils)[0]
    assert found == pytest.approx(expected, rel=3e-3)


def test_without_signal_it_is_the_mean_of_chi():
    for coils in (1, 4, 20):
        assert expected_rss(np.zeros(1), coils * 9.0, coils)[0] == pytest.approx(
            3 * gamma(coils + 0.5) / gamma(coils), rel=1e-6
        )
    assert expected_rss(np.zeros(1), 9.0, 1)[0] == pytest.approx(3 * np.sqrt(np.pi) / 2)  # Rayleigh


def test_both_ways_to_compute_it_meet():
    """From 32 coils on, moments stand for the closed form."""
    signal = np.array([0.0, 1, 3, 10, 100])
    below, above = (expected_rss(signal, 1.0, coils) for coils in (32.0, 32.0001))
    np.testing.assert_allclose(below, above, rtol=2e-5)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_units_do_not_matter(scale):
    signal = np.array([0.0, 0.5, 4.0])
    np.testing.assert_allclose(
        expected_rss(scale * signal, 3 * scale**2, 5), scale * expected_rss(signal, 3, 5), rtol=1e-5
    )


def test_correlated_noise_counts_as_fewer_coils():
    rng = np.random.default_rng(1)
    mixing = rng.standard_normal((8, 8)) + 1j * rng.standard_normal((8, 8))
    covariance = mixing @ mixing.conj().T
    assert effective_coils(covariance) < 6
    assert effective_coils(3 * np.eye(8)) == pytest.approx(8)
    total = np.trace(covariance).real
    for level in (0.0, 0.5, 5.0):
        images = level * np.sqrt(total) * rng.standard_normal(8) / np.sqrt(8)
        found = expected_rss(np.array([np.linalg.norm(images)]), total, effective_coils(covariance))[0]
        assert found == pytest.approx(drawn(images, covariance), rel=0.01)
    # As white noise of eight coils it would be 3 % off: the test can tell.
    assert expected_rss(np.zeros(1), total, 8)[0] != pytest.approx(drawn(np.zeros(8), covariance), rel=0.01)


def test_without_noise_nothing_changes():
    np.testing.assert_array_equal(expected_rss(np.array([0.0, 2.5]), 0.0, 4), [0, 2.5])


@pytest.mark.parametrize(("variance", "coils"), [(-1.0, 4), (1.0, 0.5), (float("nan"), 4)])
def test_numbers_that_cannot_be(variance, coils):
    with pytest.raises(InputError, match="at least one coil"):
        expected_rss(np.ones(2), variance, coils)
