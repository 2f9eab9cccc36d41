"""The minimisers that L1-wavelet and total variation are after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mrunfold.methods import get_method
from mrunfold.operators import FourierMask
from mrunfold.problem import Problem

Simulate = Callable[..., Problem]


def test_l1_wavelet_thresholds_the_coefficients_of_a_fully_sampled_image(simulate: Simulate) -> None:
    import pywt

    A = FourierMask(torch.ones(64, 56))
    image = simulate(coils=1).target
    assert image is not None
    problem = replace(simulate(coils=1), A=A, y=A(image))
    coefficients, layout = pywt.coeffs_to_array(pywt.wavedecn(image[0].numpy(), "db4", mode="zero"))
    magnitude = np.abs(coefficients)
    kept = coefficients * np.maximum(1 - 0.1 / np.maximum(magnitude, 1e-12), 0)
    expected = pywt.waverecn(pywt.array_to_coeffs(kept, layout, "wavedecn"), "db4", mode="zero")
    mean = get_method("l1_wavelet", lamda=0.1)(problem).mean[0].numpy()
    np.testing.assert_allclose(mean, expected, atol=1e-4)


def tv_objective(problem: Problem, x: torch.Tensor, lamda: float) -> float:
    differences = (x - x.roll(1, -1)).abs().sum() + (x - x.roll(1, -2)).abs().sum()
    return float((problem.A(x) - problem.y).abs().square().sum() / 2 + lamda * differences)


def test_total_variation_has_converged_at_its_default_number_of_steps(simulate: Simulate) -> None:
    problem = simulate((48, 40), fraction=0.2)
    method = get_method("tv")
    default = tv_objective(problem, method(problem).mean, method.lamda)
    limit = tv_objective(problem, replace(method, max_iter=1500)(problem).mean, method.lamda)
    assert limit < default < 1.02 * limit


def test_total_variation_of_much_weight_is_flat(simulate: Simulate) -> None:
    problem = simulate((32, 28))
    mean = get_method("tv", lamda=100.0, max_iter=2000)(problem).mean
    assert float((mean - mean.mean()).abs().max()) < 0.05 * float(mean.mean().abs())


@pytest.mark.parametrize("name", ["l1_wavelet", "tv"])
def test_more_weight_fits_the_data_less(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    residuals = [get_method(name, lamda=w)(problem).record["data_residual"][0] for w in (0.001, 0.01, 0.1)]
    assert residuals == sorted(residuals)
    assert residuals[-1] > 1.5 * residuals[0]
