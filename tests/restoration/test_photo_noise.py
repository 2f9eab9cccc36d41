"""The noise of an image, from itself, against the noise that was added."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.restoration import estimate_noise


def scene(channels, size=160):
    """Smooth shading with edges, as a photograph has them: (channel, y, x) from 0.2 to 0.8."""
    y, x = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    image = 0.5 + 0.15 * np.sin(7 * x) * np.cos(5 * y)
    image += 0.1 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06) - 0.1 * (x + y > 1.4)
    return np.stack([image, 0.9 * image, image - 0.05])[:channels]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_the_noise_that_was_added_is_found(channels, sigma):
    clean = scene(channels)
    noisy = clean + sigma * np.random.default_rng(0).standard_normal(clean.shape)
    assert estimate_noise(noisy) == pytest.approx(sigma, rel=0.12)


def test_only_pixels_that_are_seen_count():
    rng = np.random.default_rng(1)
    clean = scene(3)
    noisy = clean + 0.03 * rng.standard_normal(clean.shape)
    seen = np.ones(clean.shape[1:], bool)
    seen[40:90, 30:120] = False
    spoiled = np.where(seen, noisy, 0.5)
    assert estimate_noise(spoiled, seen) == pytest.approx(0.03, rel=0.12)
    assert estimate_noise(spoiled) < 0.02


def test_too_little_to_judge_by():
    with pytest.raises(InputError, match=r"give `noise`"):
        estimate_noise(np.full((3, 5, 5), 0.5))
    with pytest.raises(InputError, match=r"give `noise`"):
        estimate_noise(np.ones((3, 100, 100)))  # clipped all over
