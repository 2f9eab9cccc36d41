"""Radial: whole spokes at the golden angle, through the centre, to the acceleration asked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.masks import calibration_region, radial
from mrunfold.masks.radial import GOLDEN_ANGLE, _spoke


def test_golden_angle():
    assert math.degrees(GOLDEN_ANGLE) == pytest.approx(111.246, abs=1e-3)


@pytest.mark.parametrize("shape", [(64, 64), (320, 320), (65, 127), (128, 320)])
@pytest.mark.parametrize("accel", [2, 4, 8, 16])
def test_delivers_to_within_half_a_spoke(shape, accel):
    mask = radial(shape, accel, seed=0)
    assert abs(mask.array.sum() - mask.array.size / accel) <= max(shape) / 2 + 1
    assert mask.array[shape[0] // 2, shape[1] // 2]
    assert mask.calibration == calibration_region(mask.array)


@pytest.mark.parametrize("angle", np.linspace(0, math.pi, 13))
def test_a_spoke_is_a_connected_line_through_the_centre(angle):
    shape = (64, 96)
    points = _spoke(shape, angle)
    assert (points == np.array([[32], [48]])).all(axis=0).any()
    along = int(np.ptp(points, axis=1).argmax())
    assert np.array_equal(np.unique(points[along]), np.arange(points[along].min(), points[along].max() + 1))
    y, x = (points[0] - 32) / 32, (points[1] - 48) / 48
    off = np.abs(y * math.cos(angle) - x * math.sin(angle))
    assert off.max() < 1 / 32, "samples lie within a rounding of the line"


def test_a_lone_spoke_where_only_that_is_asked():
    mask = radial((64, 64), 64, seed=3)
    assert 40 <= mask.array.sum() <= 65


def test_calibration_is_added():
    mask = radial((128, 128), 4, seed=0, calibration=20)
    assert min(mask.calibration) >= 20


def test_unreachable_either_way():
    with pytest.raises(InputError, match=r"up to .*asked 2000"):
        radial((320, 320), 2000, seed=0)
    with pytest.raises(InputError, match=r"from 1\.\d+ up, asked 1"):
        radial((64, 64), 1, seed=0)
