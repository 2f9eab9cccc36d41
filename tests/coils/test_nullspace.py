"""The noise level from the calibration region, where the edge of k-space is full of signal."""

from __future__ import annotations

import numpy as np
import pytest
from test_noise import brain_like

from mrunfold.coils import noise_model
from mrunfold.coils.nullspace import null_space_level

EVERYTHING = np.ones((64, 64), bool)


def scan(coils: int, sigma: float) -> np.ndarray:
    """Hard edges at 64×64: k-space does not end before the matrix does."""
    kspace = brain_like(coils, 192)[:, 64:128, 64:128]
    draws = np.random.default_rng(1).standard_normal((2, *kspace.shape))
    return (kspace + sigma * (draws[0] + 1j * draws[1]) / np.sqrt(2)).astype(np.complex64)


@pytest.mark.parametrize("coils", [4, 8, 16])
@pytest.mark.parametrize("sigma", [0.003, 0.01, 0.05])
def test_the_level_is_that_of_the_noise_and_hardly_more(coils: int, sigma: float):
    level = null_space_level(scan(coils, sigma), EVERYTHING)
    assert level is not None
    assert 0.9 < level / sigma < 1.6


def test_white_noise_alone_has_its_own_level():
    draws = np.random.default_rng(2).standard_normal((2, 6, 64, 64))
    level = null_space_level(3 * (draws[0] + 1j * draws[1]) / np.sqrt(2), EVERYTHING)
    assert level == pytest.approx(3, rel=0.15)


def test_an_edge_full_of_signal_is_not_taken_for_noise():
    model = noise_model(scan(8, 0.003), EVERYTHING)
    assert model.source == "calibration null space"
    assert model.levels / 0.003 == pytest.approx(1.2, abs=0.4)


def test_a_region_too_small_has_no_level():
    lines = np.zeros((64, 64), bool)
    lines[:, ::4] = True
    assert null_space_level(scan(4, 0.01), lines) is None
