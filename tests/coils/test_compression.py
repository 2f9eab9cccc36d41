"""Coil compression."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.coils import compress, compression_matrix, find_whitening
from mrunfold.errors import InputError


def draws(*shape: int, seed: int = 0) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((2, *shape))
    return ((a[0] + 1j * a[1]) / np.sqrt(2)).astype(np.complex64)


def test_data_of_three_modes_needs_three_virtual_coils():
    block = np.tensordot(draws(8, 3), draws(3, 20, 20, seed=1), axes=1)
    assert compress(block, block, 0.9999).shape == (3, 20, 20)
    compressed = compress(block, block, 3)
    np.testing.assert_allclose((np.abs(compressed) ** 2).sum(0), (np.abs(block) ** 2).sum(0), rtol=1e-4)


@pytest.mark.parametrize("keep", [1, 3, 8, 0.5, 0.9, 1.0])
def test_rows_are_orthonormal_so_white_noise_stays_white(keep: float):
    matrix = compression_matrix(draws(8, 12, 12) * np.arange(1, 9)[:, None, None], keep)
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), atol=1e-10)
    white = compress(draws(8, 50, 400, seed=2), draws(8, 12, 12), keep).reshape(-1, 20000)[: len(matrix)]
    np.testing.assert_allclose(white @ white.conj().T / 20000, np.eye(len(white)), atol=0.05)


def test_a_fraction_of_energy_takes_the_fewest_coils_that_hold_it():
    block = draws(6, 16, 16) * np.array([8, 4, 2, 1, 0.5, 0.25])[:, None, None]
    values = np.linalg.svd(block.reshape(6, -1), compute_uv=False) ** 2
    held = np.cumsum(values) / values.sum()
    for keep in (0.5, 0.9, 0.99):
        count = len(compression_matrix(block, keep))
        assert held[count - 1] >= keep
        assert count == 1 or held[count - 2] < keep


def test_all_coils_kept_loses_nothing():
    kspace = draws(5, 9, 7)
    matrix = compression_matrix(kspace, 5)
    back = np.tensordot(matrix.conj().T, compress(kspace, kspace, 5), axes=1)
    np.testing.assert_allclose(back, kspace, atol=1e-5)


@pytest.mark.parametrize("keep", [0, 6, -1, 0.0, 1.5, float("nan")])
def test_what_cannot_be_kept_is_refused(keep: float):
    with pytest.raises(InputError):
        compression_matrix(draws(5, 8, 8), keep)


def test_auto_keeps_every_coil_that_is_not_noise():
    """Power 10⁶, 10⁴, 100 and noise of 1: the third holds 0.01 % and is kept."""
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((2, 9, 24, 24))
    white = (draws[0] + 1j * draws[1]) / np.sqrt(2)
    data = white * np.sqrt(np.array([1e6, 1e4, 100, 1, 1, 1, 1, 1, 1]))[:, None, None]
    assert len(compression_matrix(data, "auto")) == 3
    assert len(compression_matrix(data, 0.9998)) == 2
    assert len(compression_matrix(white, "auto")) == 9, "noise alone: the share of energy decides"


def test_where_nothing_is_dropped_the_coils_stay_as_they_are():
    record = {"coils": {}}
    block = draws(3, 24, 24)
    coils = find_whitening(
        np.pad(block, ((0, 0), (8, 8), (8, 8))), np.ones((40, 40), bool), draws(3, 500), record
    )
    same, kept = coils.compressed(block, 3, record)
    assert same is coils
    assert kept is block
    assert record["coils"]["virtual"] == 3
