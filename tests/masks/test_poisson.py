"""Poisson-disc: always delivers, keeps its distance, is denser at the centre, and is the same everywhere."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.masks import calibration_region, poisson
from mrunfold.masks.grid import centre_box, normalised_radius
from mrunfold.masks.poisson import SIGNATURE, _throw, throw_darts

EVERY_SIDE = (64, 65, 80, 96, 127, 180, 256, 320, 401, 640)
SOME_SHAPES = (
    *((64, 64), (65, 64), (96, 96), (64, 640), (640, 64)),
    *((127, 401), (320, 320), (640, 368), (640, 640)),
)
ACCELS = (2, 2.5, 3, 4, 5.5, 6, 8, 10, 12, 14, 16)


def assert_delivers(shape, accel, calibration=None, seed=0):
    mask = poisson(shape, accel, seed=seed, calibration=calibration)
    assert abs(mask.delivered / accel - 1) < 0.02, str(mask)
    assert mask.array[centre_box(shape, mask.calibration)].all()
    return mask


@pytest.mark.parametrize(
    "shape",
    [(64, 64), (65, 64), (96, 96), (64, 640), (640, 64), (127, 401), (320, 320), (640, 368), (640, 640)],
)
@pytest.mark.parametrize("accel", [2, 3, 5.5, 8, 12, 16])
def test_delivers_within_two_percent(shape, accel):
    assert_delivers(shape, accel)


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(itertools.product(EVERY_SIDE, repeat=2)))
def test_delivers_for_every_matrix(shape):
    for accel in ACCELS:
        assert_delivers(shape, accel)
        for side in (20, 30):
            if side * side * accel <= math.prod(shape):
                assert assert_delivers(shape, accel, calibration=side).calibration == (side, side)


def test_where_sigpy_cannot():
    mask = assert_delivers((96, 96), 8, calibration=20)
    assert mask.calibration == (20, 20)


def test_count_is_exact_up_to_what_the_centre_allows():
    """From a centre that is all there is, to every sample."""
    shape, side = (64, 72), 24
    for accel in (1, 1.01, 1.2, 1.5, 1.99, math.prod(shape) / side**2):
        mask = poisson(shape, accel, seed=1, calibration=side)
        assert mask.array.sum() == round(math.prod(shape) / accel)


def test_unreachable_acceleration_says_what_is_reachable():
    with pytest.raises(InputError, match=r"60×60.*96×96.*up to 2\.56, asked 8") as error:
        poisson((96, 96), 8, seed=0, calibration=60)
    assert "\n" not in str(error.value)
    poisson((96, 96), 2.56, seed=0, calibration=60)


@pytest.mark.parametrize("calibration", [97, (10, 97), -1, (1, 2, 3), 2.5, "24"])
def test_bad_calibration(calibration):
    with pytest.raises(InputError, match="calibration"):
        poisson((96, 96), 2, seed=0, calibration=calibration)


@pytest.mark.parametrize("growth", [-1, math.nan, math.inf])
def test_bad_growth(growth):
    with pytest.raises(InputError, match="growth"):
        poisson((96, 96), 2, seed=0, growth=growth)


def test_default_calibration():
    """24 a side; smaller where that were more than half of the samples or more than the matrix."""
    assert poisson((320, 320), 16, seed=0).calibration == (24, 24)
    assert poisson((64, 64), 16, seed=0).calibration == (11, 11)
    assert poisson((8, 640), 2, seed=0).calibration == (8, 24)
    assert poisson((64, 640), 4, seed=0, calibration=(10, 40)).calibration == (10, 40)
    assert poisson((64, 64), 4, seed=0, calibration=0).calibration == (0, 0)


def test_calibration_region_is_found_again():
    mask = poisson((320, 320), 16, seed=0)
    rows, columns = calibration_region(mask.array)
    assert rows >= 24
    assert columns >= 24


@pytest.mark.parametrize("accel", [4, 8, 16])
def test_minimum_distance(accel):
    """Two samples outside the centre are at least min(r) apart; at random some always are nearer."""
    shape = (160, 128)
    growth = 1 + 3 * normalised_radius(shape)
    order = np.random.default_rng(0).permutation(math.prod(shape))

    def violations(kept, scale):
        points = np.argwhere(kept)
        radius = scale * growth[kept]
        gap = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
        np.fill_diagonal(gap, np.inf)
        return int((gap < np.minimum(radius[:, None], radius[None]) - 1e-9).sum())

    kept = np.zeros(shape, bool)
    count = kept.size // accel
    scale = throw_darts(kept, order, growth, count)
    assert kept.sum() == count
    assert scale * growth.max() > 1.5, "the radius must exclude neighbours, or nothing is tested"
    assert violations(kept, scale) == 0

    at_random = np.zeros(shape, bool)
    at_random.ravel()[order[:count]] = True
    assert violations(at_random, scale) > 0


def test_blue_noise():
    """Its spectrum has little power at low frequencies, unlike points drawn independently."""
    shape = (256, 256)
    array = poisson(shape, 8, seed=0, calibration=0, growth=0).array
    independent = np.zeros(shape, bool)
    independent.ravel()[np.random.default_rng(0).permutation(array.size)[: array.sum()]] = True
    # Corners are left out in one of them, so look at the square inside the ellipse.
    inner = (slice(48, 208), slice(48, 208))

    def low_power(points):
        points = points[inner].astype(float)
        spectrum = np.abs(np.fft.fft2(points - points.mean())) ** 2 / points.sum()
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(160), np.fft.fftfreq(160)))
        return spectrum[(frequency > 0.02) & (frequency < 0.12)].mean()

    assert low_power(array) < 0.4 * low_power(independent)


@pytest.mark.parametrize(("shape", "accel"), [((320, 320), 8), ((320, 320), 16), ((128, 320), 8)])
def test_density_falls_with_radius(shape, accel):
    mask = poisson(shape, accel, seed=0)
    radius = normalised_radius(shape)
    edges = np.linspace(0.15, 1, 6)
    rings = [(radius > low) & (radius <= high) for low, high in itertools.pairwise(edges)]
    density = [mask.array[ring].mean() for ring in rings]
    assert all(inner > outer for inner, outer in itertools.pairwise(density)), density
    assert density[0] > 3 * density[-1]
    uniform = poisson(shape, accel, seed=0, growth=0, calibration=0)
    assert uniform.array[rings[0]].mean() < 1.3 * uniform.array[rings[-1]].mean()


def test_no_direction_is_preferred():
    array = poisson((320, 320), 8, seed=0).array
    half = [array[:160].sum(), array[160:].sum(), array[:, :160].sum(), array[:, 160:].sum()]
    assert max(half) < 1.05 * min(half)


def test_corners_are_left_out_from_two():
    outside = normalised_radius((128, 200)) > 1
    assert not poisson((128, 200), 2, seed=0).array[outside].any()
    assert poisson((128, 200), 1.5, seed=0).array[outside].any()


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (2, 2), (3, 5), (1, 1)])
def test_tiny_matrices(shape):
    for accel in (1, 1.5, 2):
        count = round(math.prod(shape) / accel)
        if count:
            assert poisson(shape, accel, seed=0).array.sum() == count


def test_compiled_and_plain_python_agree():
    import numba

    shape, missing = (48, 40), 300
    order = np.random.default_rng(2).permutation(math.prod(shape)).astype(np.int64)
    growth2 = (1 + 3 * normalised_radius(shape)) ** 2
    results = []
    for kernel in (_throw, numba.njit(SIGNATURE)(_throw)):
        kept = np.zeros(shape, bool)
        distance2 = np.full(shape, 2**30, np.int32)
        scale = kernel(kept, distance2, growth2, order, missing, 1.5, 6)
        results.append((kept, scale))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert results[0][0].sum() == missing


def test_works_where_no_cache_can_be_written(monkeypatch):
    import importlib

    import numba

    module = importlib.import_module("mrunfold.masks.poisson")
    compiled = numba.njit

    def refuse(*args, cache=False, **kwargs):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compiled(*args, **kwargs)

    expected = poisson((64, 64), 4, seed=0).array
    monkeypatch.setattr(numba, "njit", refuse)
    module._kernel.cache_clear()
    try:
        np.testing.assert_array_equal(poisson((64, 64), 4, seed=0).array, expected)
    finally:
        module._kernel.cache_clear()


def test_same_mask_on_every_machine():
    """A change here changes every published mask: say so in the changelog."""
    packed = np.packbits(poisson((96, 128), 6, seed=7).array).tobytes()
    assert hashlib.sha256(packed).hexdigest()[:16] == "e24a57238497a2d1"
