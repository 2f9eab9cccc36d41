"""The noise from the calibration region, where the edge of k-space is full of signal or filtered."""

from __future__ import annotations

import numpy as np
import pytest
from test_noise import brain_like, covariance, noise

from mrunfold.coils import noise_model
from mrunfold.coils.nullspace import null_space

EVERYTHING = np.ones((64, 64), bool)


def scan(coils: int, sigma: float) -> np.ndarray:
    """Hard edges at 64×64: k-space does not end before the matrix does."""
    kspace = brain_like(coils, 192)[:, 64:128, 64:128]
    return kspace + noise(sigma**2 * np.eye(coils), 64 * 64).reshape(kspace.shape)


def levels(found) -> np.ndarray:
    return np.sqrt(np.diagonal(found.covariance).real)


@pytest.mark.parametrize("coils", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("sigma", [0.003, 0.01, 0.05])
def test_the_level_of_every_coil_is_that_of_its_noise(coils: int, sigma: float):
    found = null_space(scan(coils, sigma), EVERYTHING)
    assert found is not None
    assert np.median(levels(found)) / sigma == pytest.approx(1, abs=0.15)
    assert levels(found).min() / sigma > 1 / 1.5
    assert levels(found).max() / sigma < 1.5


@pytest.mark.parametrize("coils", [4, 8])
def test_the_covariance_is_that_of_the_noise(coils: int):
    truth = covariance(coils, 0.02)
    kspace = brain_like(coils, 96) + noise(truth, 96 * 96).reshape(coils, 96, 96)
    found = null_space(kspace.astype(np.complex64), np.ones((96, 96), bool))
    assert found is not None
    inverse = np.linalg.inv(np.linalg.cholesky(truth))
    spread = np.linalg.eigvalsh(inverse @ found.covariance @ inverse.conj().T)
    assert spread[0] > 0.5
    assert spread[-1] < 2


def test_white_noise_alone_has_its_own_level():
    found = null_space(noise(9 * np.eye(6), 64 * 64).reshape(6, 64, 64), EVERYTHING)
    assert found is not None
    assert levels(found) == pytest.approx(3, rel=0.1)
    assert found.share == 1


def test_one_coil_with_an_object_as_large_as_the_field_of_view_has_no_null_space():
    kspace = noise(1e-4 * np.eye(1), 64 * 64).reshape(1, 64, 64)
    kspace[:, 32, 32] = 64
    assert null_space(kspace, EVERYTHING) is None


def test_an_edge_full_of_signal_is_not_taken_for_noise():
    model = noise_model(scan(8, 0.003), EVERYTHING)
    assert (model.source, model.profile) == ("calibration null space", "signal to the edge")
    assert model.levels / 0.003 == pytest.approx(1, abs=0.2)


def test_a_region_too_small_has_no_level():
    lines = np.zeros((64, 64), bool)
    lines[:, ::4] = True
    assert null_space(scan(4, 0.01), lines) is None


def test_a_coil_that_is_far_louder_is_as_loud():
    truth = np.diag([1.0, 1.0, 25.0, 1.0, 1.0, 0.04]) * 1e-4
    kspace = brain_like(6, 96) + noise(truth, 96 * 96).reshape(6, 96, 96)
    found = null_space(kspace.astype(np.complex64), np.ones((96, 96), bool))
    assert found is not None
    np.testing.assert_allclose(levels(found) / np.sqrt(np.diagonal(truth)), 1, atol=0.4)
