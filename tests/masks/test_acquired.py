"""What a file acquired: its calibration region against a brute-force search, and masks of a wrong width."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.masks import acquired, calibration_region
from mrunfold.masks.grid import centre_box


def brute_force(array):
    sizes = [
        (min(a, b), a * b, (a, b))
        for a in range(1, array.shape[0] + 1)
        for b in range(1, array.shape[1] + 1)
        if array[centre_box(array.shape, (a, b))].all()
    ]
    return max(sizes)[:2] if sizes else (0, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (8, 8), (9, 12), (12, 9), (11, 11)])
@pytest.mark.parametrize("density", [0.5, 0.9, 0.97, 1.0])
def test_calibration_region_is_the_largest(shape, density):
    rng = np.random.default_rng(0)
    for _ in range(20):
        array = rng.random(shape) < density
        a, b = calibration_region(array)
        assert (min(a, b), a * b) == brute_force(array)
        assert array[centre_box(shape, (a, b))].all()


@pytest.mark.parametrize("shape", [(640, 368), (640, 372), (321, 255)])
@pytest.mark.parametrize("size", [(24, 24), (17, 30), (1, 1), (30, 17)])
def test_calibration_region_finds_what_was_put_there(shape, size):
    array = np.zeros(shape, bool)
    array[centre_box(shape, size)] = True
    assert calibration_region(array) == size


def test_everything_sampled():
    assert calibration_region(np.ones((640, 368), bool)) == (640, 368)
    assert acquired(np.ones((5, 4), bool)).delivered == 1


def test_centre_not_sampled():
    array = np.ones((8, 8), bool)
    array[4, 4] = False
    assert calibration_region(array) == (0, 0)


def test_a_long_line_does_not_beat_a_square():
    array = np.zeros((64, 640), bool)
    array[centre_box(array.shape, (12, 12))] = True
    array[32] = True
    assert calibration_region(array) == (12, 12)


def test_lines_reach_over_the_whole_readout():
    array = np.zeros((64, 64), bool)
    array[:, ::4] = True
    array[:, 28:36] = True
    assert calibration_region(array) == (64, 9 if array[:, 27].all() or array[:, 36].all() else 8)


def test_calibration_region_wants_one_slice():
    with pytest.raises(InputError, match=r"\(readout, phase\)"):
        calibration_region(np.ones((2, 8, 8), bool))


def test_acquired_mask():
    array = np.zeros((16, 16), bool)
    array[:, 4:12] = True
    mask = acquired(array)
    assert (mask.kind, mask.asked, mask.seed, mask.calibration) == ("acquired", None, None, (16, 8))
    assert "as acquired" in str(mask)
    with pytest.raises(InputError, match="no sample"):
        acquired(np.zeros((16, 16), bool))
