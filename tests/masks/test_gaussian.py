"""Gaussian densities: exact counts, and the density asked."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.masks import gaussian, gaussian1d
from mrunfold.masks.grid import centre_box, normalised_radius


@pytest.mark.parametrize("shape", [(64, 64), (65, 127), (640, 368)])
@pytest.mark.parametrize("accel", [1, 1.5, 4, 16])
def test_counts_are_exact(shape, accel):
    mask = gaussian(shape, accel, seed=0)
    assert mask.array.sum() == round(mask.array.size / accel)
    assert mask.array[centre_box(shape, mask.calibration)].all()
    lines = gaussian1d(shape, accel, seed=0, center_fraction=0.02).array[0]
    assert lines.sum() == round(shape[1] / accel)


def test_density_is_gaussian():
    """Far from saturation the kept radii have the mean of a Rayleigh law of that width."""
    shape, width = (200, 200), 0.2
    radii = normalised_radius(shape)
    kept = [radii[gaussian(shape, 400, seed=s, calibration=0, width=width).array] for s in range(20)]
    mean = np.concatenate(kept).mean()
    assert mean == pytest.approx(width * np.sqrt(np.pi / 2), rel=0.05)


def test_lines_are_denser_at_the_centre():
    lines = np.mean([gaussian1d((1, 256), 4, seed=s, calibration=0).array[0] for s in range(50)], axis=0)
    assert lines[96:160].mean() > 4 * np.r_[lines[:32], lines[-32:]].mean()


def test_unreachable_says_what_is_reachable():
    with pytest.raises(InputError, match=r"up to 2\.56, asked 8"):
        gaussian((96, 96), 8, seed=0, calibration=60)
    with pytest.raises(InputError, match="up to 4, asked 8"):
        gaussian1d((96, 96), 8, seed=0, calibration=24)


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_bad_width(width):
    for law in (gaussian, gaussian1d):
        with pytest.raises(InputError, match="width"):
            law((96, 96), 4, seed=0, width=width)
