"""fastMRI's masks: bit-equal to fastMRI, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.masks import calibration_region, draw, seed_from_name

CLASSES = {
    "random": "RandomMaskFunc",
    "equispaced": "EquiSpacedMaskFunc",
    "equispaced_fraction": "EquispacedMaskFractionFunc",
    "magic": "MagicMaskFunc",
}
NAME_SEED = seed_from_name("file1000031.h5")


def fastmri_lines(kind, width, accel, fraction, seed):
    """What fastMRI's data transform draws for k-space (coil, rows, width, 2)."""
    from fastmri.data import subsample

    function = getattr(subsample, CLASSES[kind])([fraction], [accel])
    mask, low = function((8, 5, width, 2), None, seed)
    return mask.numpy().reshape(width).astype(bool), low


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1, NAME_SEED])
@pytest.mark.parametrize("width", [320, 368, 372, 401, 64])
@pytest.mark.parametrize(("accel", "fraction"), [(4, 0.08), (8, 0.04), (2, 0.16), (6, 0.1), (3, 0.0)])
@pytest.mark.parametrize("kind", CLASSES)
def test_equal_to_fastmri(kind, accel, fraction, width, seed):
    lines, low = fastmri_lines(kind, width, accel, fraction, seed)
    mask = draw(kind, (12, width), accel, seed=seed, center_fraction=fraction)
    np.testing.assert_array_equal(mask.array, np.broadcast_to(lines, (12, width)))
    assert mask.calibration == (12, low)
    assert mask.delivered == pytest.approx(width / lines.sum())
    assert (mask.kind, mask.asked, mask.seed) == (kind, accel, seed)


@pytest.mark.parametrize(("accel", "fraction"), [(4, 0.08), (8, 0.04)])
@pytest.mark.parametrize("kind", CLASSES)
def test_default_centre_is_fastmris(kind, accel, fraction):
    lines, _ = fastmri_lines(kind, 368, accel, fraction, 7)
    np.testing.assert_array_equal(draw(kind, (4, 368), accel, seed=7).array[0], lines)


def test_fractional_acceleration_equals_fastmri():
    for kind in ("random", "equispaced_fraction"):
        lines, _ = fastmri_lines(kind, 320, 3.5, 0.08, 1)
        np.testing.assert_array_equal(draw(kind, (2, 320), 3.5, seed=1, center_fraction=0.08).array[0], lines)


@pytest.mark.parametrize("kind", [*CLASSES, "gaussian1d"])
def test_calibration_in_lines(kind):
    mask = draw(kind, (16, 300), 4, seed=3, calibration=21)
    assert mask.calibration == (16, 21)
    rows, columns = calibration_region(mask.array)
    assert rows == 16
    assert columns >= 21


@pytest.mark.parametrize("kind", [*CLASSES, "gaussian1d"])
def test_every_row_is_the_same(kind):
    array = draw(kind, (9, 128), 4, seed=11).array
    assert (array == array[0]).all()
    assert 0 < array[0].sum() < 128


def test_seed_from_name_is_fastmris_and_ignores_the_folder():
    assert seed_from_name("file1.h5") == tuple(map(ord, "file1.h5"))
    assert seed_from_name("/somewhere/else/file1.h5") == seed_from_name("file1.h5")
    with pytest.raises(InputError, match="file name"):
        seed_from_name("")


@pytest.mark.parametrize("kind", ["random", "equispaced_fraction"])
def test_centre_that_leaves_no_lines_says_what_is_reachable(kind):
    with pytest.raises(InputError, match=r"32 lines of 320.*below 10"):
        draw(kind, (320, 320), 12, seed=0, calibration=32)


@pytest.mark.parametrize("kind", ["equispaced", "magic"])
def test_spacing_must_be_whole(kind):
    with pytest.raises(InputError, match=r"whole-number acceleration, got 3\.5"):
        draw(kind, (320, 320), 3.5, seed=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"calibration": 8, "center_fraction": 0.1}, "not both"),
        ({"calibration": 65}, "65 lines does not fit a width of 64"),
        ({"calibration": -1}, "does not fit"),
        ({"calibration": (8, 8)}, "number of lines"),
        ({"center_fraction": 1.5}, "from 0 to 1"),
        ({"center_fraction": float("nan")}, "from 0 to 1"),
    ],
)
@pytest.mark.parametrize("kind", [*CLASSES, "gaussian1d"])
def test_bad_centre_is_refused(kind, options, says):
    with pytest.raises(InputError, match=says):
        draw(kind, (64, 64), 4, seed=0, **options)
