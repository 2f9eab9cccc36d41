"""What holds for every kind of mask: seeds, shapes, refusals, and numpy's global random state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.masks import KINDS, Mask, draw

SHAPE = (96, 128)


def same_state(a, b):
    return a[0] == b[0] and (a[1] == b[1]).all() and a[2:] == b[2:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_knows_what_it_is(kind):
    mask = draw(kind, SHAPE, 4, seed=5)
    assert isinstance(mask, Mask)
    assert (mask.kind, mask.asked, mask.seed, mask.shape) == (kind, 4.0, 5, SHAPE)
    assert mask.array.dtype == bool
    assert not mask.array.flags.writeable
    assert mask.delivered == pytest.approx(math.prod(SHAPE) / np.count_nonzero(mask.array))


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides(kind):
    first = draw(kind, SHAPE, 4, seed=1).array
    np.testing.assert_array_equal(first, draw(kind, SHAPE, 4, seed=1).array)
    others = [draw(kind, SHAPE, 4, seed=seed).array for seed in (2, 3, 4, 5, (102, 105))]
    assert any((first != other).any() for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_global_random_state_is_untouched(kind):
    np.random.seed(1234)  # noqa: NPY002
    before = np.random.get_state()  # noqa: NPY002
    draw(kind, SHAPE, 4, seed=9)
    draw(kind, SHAPE, 4, seed=(1, 2, 3))
    assert same_state(before, np.random.get_state())  # noqa: NPY002


@pytest.mark.parametrize("kind", KINDS)
def test_global_random_state_has_no_say(kind):
    np.random.seed(1)  # noqa: NPY002
    first = draw(kind, SHAPE, 4, seed=9).array
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, draw(kind, SHAPE, 4, seed=9).array)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("accel", "says"),
    [
        (1e6, "leaves no"),
        (0.5, "from 1 up"),
        (0, "from 1 up"),
        (-4, "from 1 up"),
        (math.nan, "from 1 up"),
        (math.inf, "from 1 up"),
        ("four", "from 1 up"),
    ],
)
def test_impossible_accelerations(kind, accel, says):
    with pytest.raises(InputError, match=says):
        draw(kind, SHAPE, accel, seed=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 64), (64,), (4, 64, 64), (64.5, 64), "no", 64])
def test_bad_shapes(kind, shape):
    with pytest.raises(InputError, match=r"\(readout, phase\)"):
        draw(kind, shape, 4, seed=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [None, -1, 2**32, 1.5, "file.h5", (), (1, -2), ("a",)])
def test_bad_seeds(kind, seed):
    with pytest.raises(InputError, match="seed"):
        draw(kind, SHAPE, 4, seed=seed)


def test_numpy_integers_are_integers():
    mask = draw("poisson", np.array(SHAPE), np.float32(4), seed=np.int64(3), calibration=np.int32(8))
    np.testing.assert_array_equal(mask.array, draw("poisson", SHAPE, 4, seed=3, calibration=8).array)
    assert type(mask.seed) is int


def test_unknown_kinds_name_the_nearest():
    with pytest.raises(InputError, match="did you mean poisson"):
        draw("poison", SHAPE, 4, seed=0)
    with pytest.raises(InputError, match="known: equispaced"):
        draw("zzz", SHAPE, 4, seed=0)
    with pytest.raises(InputError, match="is not drawn"):
        draw("acquired", SHAPE, 4, seed=0)


@pytest.mark.parametrize("kind", ["poisson", "gaussian", "radial"])
def test_laws_of_points_take_no_center_fraction(kind):
    with pytest.raises(InputError, match="center_fraction"):
        draw(kind, SHAPE, 4, seed=0, center_fraction=0.08)
