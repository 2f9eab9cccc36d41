"""The noise level is within 1.5 times the truth, whatever was done to the scan; and a level that is given."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.benchmarks.quality.noise import CONDITIONS, markdown, measure_simulated, noisy_scan
from mrunfold.coils import find_whitening, noise_model
from mrunfold.errors import InputError
from mrunfold.masks import draw

WITHIN = 1.5


def ratios(size: int, coils: int, sigma: float, condition: str, law: str) -> tuple[np.ndarray, str]:
    """Found over true levels, and what was said of k-space."""
    kspace, acquired, covariance = noisy_scan(size, coils, sigma, condition, seed=1)
    if law != "full":
        name, _, accel = law.partition(":")
        acquired = acquired & np.asarray(draw(name, acquired.shape, float(accel), seed=1).array, bool)
    model = noise_model(np.where(acquired, kspace, 0), acquired)
    return model.levels / np.sqrt(np.diagonal(covariance).real), model.profile


@pytest.mark.parametrize("law", ["full", "random:4", "poisson:8"])
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("sigma", [0.002, 0.01, 0.1])
def test_eight_coils(sigma: float, condition: str, law: str):
    found, _ = ratios(128, 8, sigma, condition, law)
    assert 1 / WITHIN < np.median(found) < WITHIN


@pytest.mark.parametrize("coils", [1, 2, 4, 16, 32])
@pytest.mark.parametrize("condition", ["plain", "hann", "fermi"])
def test_one_to_32_coils(condition: str, coils: int):
    found, _ = ratios(160, coils, 0.01, condition, "random:4")
    assert 1 / WITHIN < np.median(found) < WITHIN


@pytest.mark.parametrize("sigma", [0.002, 0.1])
def test_no_coil_of_a_scan_with_equal_noise_is_far_from_the_others(sigma: float):
    found, _ = ratios(128, 8, sigma, "plain", "full")
    assert found.max() / found.min() < WITHIN


def test_how_the_noise_goes_on_over_k_space_is_said():
    assert ratios(128, 8, 0.1, "plain", "full")[1] == "flat"
    assert ratios(128, 8, 0.1, "hann", "full")[1] == "falls towards the edge"
    assert ratios(128, 8, 0.001, "plain", "full")[1] == "signal to the edge"


def test_a_level_that_is_given_is_taken():
    kspace, acquired, _ = noisy_scan(64, 4, 0.01, "plain")
    scan = np.ones((4, 100), np.complex64)
    record: dict = {}
    transform = find_whitening(kspace, acquired, scan, record, sigma=0.03)
    np.testing.assert_allclose(transform.covariance, 9e-4 * np.eye(4))
    assert record["noise"]["source"] == "given"
    assert record["noise"]["level"] == [0.03] * 4


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_a_level_that_cannot_be_is_refused(sigma: float):
    with pytest.raises(InputError, match="standard deviation above 0"):
        noise_model(np.ones((2, 8, 8), np.complex64), np.ones((8, 8), bool), sigma=sigma)


def test_the_benchmark_has_a_row_a_condition_mask_object_and_number_of_coils():
    rows = measure_simulated(coils=(4,), sizes=(64,), sigmas=(0.1,))
    assert len(rows) == len(CONDITIONS) * 3 * 2
    assert all(0 < row["both"][0] < 10 for row in rows)
    assert "| plain | full | head | 4 |" in markdown({"simulated": rows, "real": []})
