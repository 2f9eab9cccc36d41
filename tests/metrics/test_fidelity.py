"""Metrics: values known in closed form, no default data range, and what they refuse."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.metrics import coverage, nmse, psnr, sample_interval, score, ssim
from mrunfold.metrics import fidelity as metrics

rng = np.random.default_rng(0)
VOLUME = rng.random((2, 12, 11))


def test_no_metric_has_a_default_data_range() -> None:
    takes_it = set()
    for name in metrics.__all__:
        parameters = inspect.signature(getattr(metrics, name)).parameters
        assert all(p.default is inspect.Parameter.empty for p in parameters.values()), name
        if "data_range" in parameters:
            assert parameters["data_range"].kind is inspect.Parameter.KEYWORD_ONLY
            takes_it.add(name)
    assert takes_it == {"psnr", "ssim", "score"}
    with pytest.raises(TypeError, match="data_range"):
        psnr(VOLUME, VOLUME)  # type: ignore[call-arg]


def test_known_values() -> None:
    target = np.ones((1, 8, 8))
    assert nmse(target, 0.9 * target) == pytest.approx(0.01)
    assert psnr(target, 0.9 * target, data_range=1.0) == pytest.approx(20.0)
    assert psnr(target, 0.9 * target, data_range=10.0) == pytest.approx(40.0)
    # Constant images: structure and contrast are 1, luminance (2ab + C₁)/(a² + b² + C₁).
    expected = (2 * 0.9 + 1e-4) / (1 + 0.81 + 1e-4)
    assert ssim(target, 0.9 * target, data_range=1.0) == pytest.approx(expected)


def test_equal_volumes() -> None:
    assert score(VOLUME, VOLUME, data_range=1.0) == {"nmse": 0.0, "psnr": math.inf, "ssim": 1.0}


def test_score_is_the_three_of_them() -> None:
    recon = VOLUME + 0.1 * rng.random(VOLUME.shape)
    assert score(VOLUME, recon, data_range=0.7) == {
        "nmse": nmse(VOLUME, recon),
        "psnr": psnr(VOLUME, recon, data_range=0.7),
        "ssim": ssim(VOLUME, recon, data_range=0.7),
    }


def test_integers_do_not_wrap() -> None:
    target, recon = np.full((1, 8, 8), 10, np.uint16), np.full((1, 8, 8), 11, np.uint16)
    assert nmse(target, recon) == pytest.approx(0.01)
    assert psnr(target, recon, data_range=10) == pytest.approx(20.0)


with_range: list[Callable[[Any, Any], float]] = [
    nmse,
    lambda t, r: psnr(t, r, data_range=1.0),
    lambda t, r: ssim(t, r, data_range=1.0),
]


@pytest.mark.parametrize("metric", with_range, ids=["nmse", "psnr", "ssim"])
def test_bad_volumes_are_refused(metric: Callable[[Any, Any], float]) -> None:
    with pytest.raises(InputError, match=r"differ in shape: \(2, 12, 11\) and \(1, 12, 11\)"):
        metric(VOLUME, VOLUME[:1])
    for bad in (np.nan, np.inf):
        broken = VOLUME.copy()
        broken[0, 0, 0] = bad
        with pytest.raises(InputError, match="recon has values that are not finite"):
            metric(VOLUME, broken)
        with pytest.raises(InputError, match="target has values that are not finite"):
            metric(broken, VOLUME)
    with pytest.raises(InputError, match="complex"):
        metric(VOLUME, VOLUME.astype(complex))
    with pytest.raises(InputError, match="array of numbers"):
        metric(VOLUME[:0], VOLUME[:0])
    with pytest.raises(InputError, match="array of numbers, got bool"):
        metric(VOLUME > 0, VOLUME)


@pytest.mark.parametrize("metric", [psnr, ssim, score])
@pytest.mark.parametrize("data_range", [0.0, -1.0, math.nan, math.inf])
def test_bad_data_ranges_are_refused(metric: Callable[..., float], data_range: float) -> None:
    with pytest.raises(InputError, match="data_range"):
        metric(VOLUME, VOLUME, data_range=data_range)


def test_ssim_needs_a_volume_as_large_as_its_window() -> None:
    with pytest.raises(InputError, match="slice axis"):
        ssim(VOLUME[0], VOLUME[0], data_range=1.0)
    with pytest.raises(InputError, match="expects a volume"):
        ssim(VOLUME[:, :6], VOLUME[:, :6], data_range=1.0)


def test_nmse_of_an_empty_target_is_refused() -> None:
    with pytest.raises(InputError, match="target's norm"):
        nmse(np.zeros_like(VOLUME), VOLUME)


def test_coverage_counts_inside_only_and_bounds_as_covered() -> None:
    target = np.array([[0.0, 1.0, 2.0, 9.0]])
    low, high = np.zeros((1, 4)), np.ones((1, 4))
    inside = np.array([[True, True, True, False]])
    assert coverage(target, low, high, inside) == pytest.approx(2 / 3)
    assert coverage(target, low, high, np.ones((1, 4), bool)) == pytest.approx(0.5)


def test_coverage_of_a_gaussian_s_quantiles() -> None:
    draws = rng.standard_normal((1, 300, 300))
    low, high = np.full_like(draws, -1.6449), np.full_like(draws, 1.6449)
    assert coverage(draws, low, high, np.ones(draws.shape, bool)) == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize(("draws", "expected"), [(8, 7 / 9), (19, 0.9), (32, 0.9), (101, 0.9)])
def test_one_more_draw_lies_in_a_sample_interval_as_often_as_it_says(draws: int, expected: float) -> None:
    own = np.random.default_rng(5)
    low, high = sample_interval(own.standard_normal((draws, 200, 200)), 0.9)
    further = own.standard_normal((200, 200))
    found = coverage(further, low, high, np.ones(further.shape, bool))
    # 40,000 pixels: a standard error of 0.0015 to 0.002.
    assert found == pytest.approx(expected, abs=0.01)


def test_few_draws_give_their_extremes() -> None:
    low, high = sample_interval(np.array([[3.0], [1.0], [2.0]]), 0.9)
    assert (float(low[0]), float(high[0])) == (1.0, 3.0)
    with pytest.raises(InputError, match="2 draws"):
        sample_interval(np.ones((1, 4)), 0.9)
    with pytest.raises(InputError, match="share"):
        sample_interval(np.ones((5, 2)), 1.0)


def test_coverage_refuses() -> None:
    ones, inside = np.ones((1, 4)), np.ones((1, 4), bool)
    with pytest.raises(InputError, match="one shape"):
        coverage(ones, ones, ones[:, :3], inside)
    with pytest.raises(InputError, match="bool"):
        coverage(ones, ones, ones, np.ones((1, 4)))
    with pytest.raises(InputError, match="no pixel"):
        coverage(ones, ones, ones, ~inside)
    with pytest.raises(InputError, match="low ≤ high"):
        coverage(ones, ones + 1, ones, inside)
    with pytest.raises(InputError, match="high has values"):
        coverage(ones, ones, ones * np.nan, inside)
    outside = np.array([[np.nan, 1.0, 1.0, 1.0]])
    assert coverage(outside, ones, ones, np.isfinite(outside)) == 1.0
