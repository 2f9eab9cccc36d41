"""Noise covariance and whitening, against noise of known covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrunfold.coils import covariance_of, live_coils, noise_model, unwhitening, whiten
from mrunfold.errors import InputError
from mrunfold.operators import fft2c
from mrunfold.phantoms.coils import simulated_maps

COILS = 8


def covariance(coils: int, sigma: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = np.tri(coils) * (rng.standard_normal((coils, coils)) + 1j * rng.standard_normal((coils, coils)))
    L = np.diag(rng.uniform(0.5, 2, coils)) @ (np.eye(coils) + 0.3 * mix / np.sqrt(coils))
    return sigma**2 * L @ L.conj().T


def noise(cov: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    draws = np.random.default_rng(seed).standard_normal((2, len(cov), count))
    return (np.linalg.cholesky(cov) @ (draws[0] + 1j * draws[1]) / np.sqrt(2)).astype(np.complex64)


def brain_like(coils: int, size: int) -> np.ndarray:
    """k-space (coil, y, x) of ellipses of height 1 seen by simulated coils."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    image = 0.5 - 0.5 * np.tanh(12 * ((y / 0.8) ** 2 + (x / 0.65) ** 2 - 1))
    image += 0.2 - 0.2 * np.tanh(12 * (((y - 0.2) / 0.3) ** 2 + ((x + 0.1) / 0.2) ** 2 - 1))
    maps = simulated_maps(coils, (size, size), torch.Generator().manual_seed(3))
    return fft2c(maps * torch.from_numpy(image.astype(np.float32))).numpy()


def relative_levels(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.sqrt(np.diagonal(estimate).real / np.diagonal(truth).real)


def test_a_noise_scan_gives_its_covariance():
    truth = covariance(COILS, 3.0)
    kspace = brain_like(COILS, 32)
    model = noise_model(kspace, np.ones((32, 32), bool), noise(truth, 4000))
    assert (model.source, model.samples) == ("noise scan", 4000)
    assert np.linalg.norm(model.covariance - truth) < 0.1 * np.linalg.norm(truth)
    np.testing.assert_allclose(model.levels, np.sqrt(np.diagonal(truth).real), rtol=0.1)


@pytest.mark.parametrize("coils", [1, 4, 8])
@pytest.mark.parametrize("fraction", [1.0, 0.25])
def test_the_edge_of_k_space_gives_the_noise_to_20_percent(coils: int, fraction: float):
    truth = covariance(coils, 0.02)
    kspace = brain_like(coils, 160) + noise(truth, 160 * 160).reshape(coils, 160, 160)
    lines = np.random.default_rng(0).random(160) < fraction
    acquired = np.broadcast_to(lines, (160, 160))
    model = noise_model(np.where(acquired, kspace, 0).astype(np.complex64), acquired)
    assert model.source == "k-space edge"
    assert 20 * coils <= model.samples < 0.1 * acquired.sum()
    np.testing.assert_allclose(relative_levels(model.covariance, truth), 1, atol=0.2)


def test_a_tenth_of_samples_with_signal_does_not_move_the_edge_estimate():
    truth = covariance(COILS, 1.0)
    kspace = noise(truth, 128 * 128).reshape(COILS, 128, 128)
    struck = np.random.default_rng(2).random((128, 128)) < 0.1
    kspace[:, struck] += 20 * noise(np.eye(COILS), int(struck.sum()), seed=5)
    model = noise_model(kspace, np.ones((128, 128), bool))
    np.testing.assert_allclose(relative_levels(model.covariance, truth), 1, atol=0.2)


def test_only_acquired_samples_are_looked_at():
    kspace = noise(covariance(4, 1.0), 64 * 64).reshape(4, 64, 64)
    acquired = np.zeros((64, 64), bool)
    acquired[16:48, 16:48] = True
    before = noise_model(kspace, acquired)
    after = noise_model(np.where(acquired, kspace, 1e6), acquired)
    np.testing.assert_array_equal(before.covariance, after.covariance)


def test_samples_that_are_exactly_zero_are_no_noise():
    truth = covariance(4, 1.0)
    kspace = noise(truth, 64 * 64).reshape(4, 64, 64)
    kspace[:, :8] = kspace[:, -8:] = 0
    model = noise_model(kspace, np.ones((64, 64), bool))
    np.testing.assert_allclose(relative_levels(model.covariance, truth), 1, atol=0.25)


def test_whitened_noise_is_white_and_can_be_undone():
    truth = covariance(COILS, 7.0)
    samples = noise(truth, 20000)
    white = whiten(samples, truth)
    np.testing.assert_allclose(white @ white.conj().T / 20000, np.eye(COILS), atol=0.04)
    np.testing.assert_allclose(unwhitening(truth) @ white, samples, rtol=0, atol=1e-4)
    assert white.dtype == np.complex64


def test_few_samples_or_copied_coils_still_give_an_invertible_covariance():
    few = noise(covariance(16, 1.0), 10)
    unwhitening(covariance_of(few))
    copied = noise(covariance(4, 1.0), 500)[[0, 1, 2, 3, 3]]
    assert np.isfinite(whiten(copied, covariance_of(copied))).all()


def test_live_coils():
    kspace = noise(covariance(3, 1e-20), 100)
    kspace[1] = 0
    np.testing.assert_array_equal(live_coils(kspace), [True, False, True])
    assert not live_coils(np.zeros((3, 4, 4), np.complex64)).any()


def test_zero_k_space_says_that_nothing_is_known():
    model = noise_model(np.zeros((3, 8, 8), np.complex64), np.ones((8, 8), bool))
    assert (model.source, model.samples) == ("none", 0)
    np.testing.assert_array_equal(model.covariance, np.eye(3))


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        (np.ones((3, 10)), "4 coils here"),
        (np.full((4, 10), np.nan), "NaN"),
        (np.eye(4, 10) * np.array([1, 1, 1, 0])[:, None], "zero in a coil"),
    ],
)
def test_a_bad_noise_scan_is_refused(scan: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        noise_model(np.ones((4, 8, 8), np.complex64), np.ones((8, 8), bool), scan)


def test_whitening_by_another_number_of_coils_is_refused():
    with pytest.raises(InputError, match="of 4 coils and k-space"):
        whiten(np.ones((3, 8, 8), np.complex64), np.eye(4))


def test_a_singular_covariance_is_refused():
    with pytest.raises(InputError, match="not positive definite"):
        unwhitening(np.zeros((2, 2)))


def test_a_real_brain_against_the_empty_corners_of_its_image(shared_data):
    path = shared_data / "kspace" / "brain_8ch_full.cfl"
    kspace = np.fromfile(path, np.complex64).reshape((8, 180, 230)).transpose(0, 2, 1)
    from mrunfold.operators import ifft2c

    images = ifft2c(torch.from_numpy(np.ascontiguousarray(kspace))).numpy()
    corners = np.concatenate([images[:, a, b].reshape(8, -1) for a in (slice(10), slice(-10, None))
                              for b in (slice(10), slice(-10, None))], axis=1)  # fmt: skip
    air = np.sqrt(np.mean(np.abs(corners) ** 2, axis=1))
    model = noise_model(kspace, np.ones((230, 180), bool))
    np.testing.assert_allclose(model.levels / air, 1, atol=0.15)
