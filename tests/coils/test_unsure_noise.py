"""One coil whose k-space falls to its edge: no less noise is believed than a hundredth of the height."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrunfold.benchmarks.datasets import FullSlice, windowed
from mrunfold.coils.noise import UNSURE
from mrunfold.io.scan import Header
from mrunfold.masks import draw
from mrunfold.operators import fft2c
from mrunfold.prepare import ProblemSettings, build_problem


def crowded(coils: int = 1, size: int = 96, noise: float = 0.02) -> FullSlice:
    """A scan whose object fills the field of view, so that no air tells the noise."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:size, :size] / size - 0.5
    waves = [(1, 2), (3, 1), (5, 4)]
    image = 1.0 + sum(rng.uniform(0.1, 0.4) * np.cos(2 * np.pi * (a * x + b * y)) for a, b in waves)
    image = image + (rng.random((size, size)) > 0.97)
    maps = np.stack([np.exp(1j * (c * x - c * y)) * (1 + 0.5 * np.cos(2 * x + c)) for c in range(coils)])
    full = fft2c(torch.from_numpy(maps * image)).numpy()
    full = full + noise * (rng.normal(size=full.shape) + 1j * rng.normal(size=full.shape)) / np.sqrt(2)
    header = Header("cfl", 1, coils, (size, size), size, (size, size))
    return FullSlice("crowded", full.astype(np.complex64), header, simulated=True)


def problem(full, sigma=None, units=1.0):
    mask = draw("random", full.kspace.shape[1:], 4, seed=0)
    settings = ProblemSettings(cache=None, sigma=sigma)
    return build_problem(full.kspace * np.float32(units), full.header, mask, settings=settings)


@pytest.mark.parametrize("units", [1.0, 1e-6, 4e5])
def test_a_filter_took_the_noise_from_the_edge_of_one_coil(units):
    found = problem(windowed(crowded(noise=0.005)), units=units)
    assert found.record["noise"]["profile"] == "unknown"
    assert float(found.sigma_y) == pytest.approx(UNSURE)
    assert found.record["noise"]["sigma_y_at_least"] == UNSURE
    assert 1 / float(found.scale) < UNSURE / 2, "the edge holds that much (whitened), else nothing is shown"


def test_more_noise_than_that_is_believed():
    found = problem(crowded(noise=0.3))
    assert float(found.sigma_y) > 2 * UNSURE


def test_a_level_that_is_told_is_believed():
    found = problem(windowed(crowded()), sigma=0.001)
    assert float(found.sigma_y) == pytest.approx(1 / float(found.scale))
    assert float(found.sigma_y) < UNSURE / 2
    assert "sigma_y_at_least" not in found.record["noise"]


def test_many_coils_tell_their_noise_elsewhere():
    found = problem(windowed(crowded(coils=8)))
    assert "sigma_y_at_least" not in found.record["noise"]
