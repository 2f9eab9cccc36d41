"""Draws around the mean: of a Gaussian posterior they have its mean and its covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrunfold.diffusion import draw_gaussian, root_levels
from mrunfold.errors import InputError
from mrunfold.testing import GaussianPosterior, MixturePosterior


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def posterior(dtype: torch.dtype) -> GaussianPosterior:
    """Standard deviations from 0.005 to 0.15 along axes that are no pixels."""
    axes = torch.linalg.qr(torch.randn(5, 5, dtype=dtype, generator=torch.Generator().manual_seed(2)))[0]
    spread = torch.logspace(np.log10(0.005), np.log10(0.15), 5, dtype=torch.float64)
    covariance = (axes * spread.to(axes.real.dtype) ** 2) @ axes.mH
    return GaussianPosterior(torch.arange(5).to(dtype), covariance)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64])
def test_the_covariance_is_the_posteriors(dtype):
    given = posterior(dtype)
    draws, evaluations = draw_gaussian(given.denoiser, given.mean[None], 40000, generators(1), levels=3)
    assert draws.shape == (40000, 1, 5)
    assert evaluations == 3 * (20000 + 1)
    off = draws[:, 0] - given.mean
    assert float(off.mean(dim=0).abs().max()) < 1e-12  # pairs: to rounding
    variances, axes = torch.linalg.eigh(given.covariance)
    found = (off @ axes.conj()).abs().square().mean(dim=0)
    # 1.5 % of the root, and the spread of 20000 squares
    np.testing.assert_allclose(found / variances, 1, atol=0.03 + 4 * np.sqrt(2 / 20000))


@pytest.mark.parametrize(("levels", "error"), [(1, 0.5659), (2, 0.0962), (3, 0.0150), (6, 1e-4)])
def test_levels_are_the_best_for_a_root(levels, error):
    sigmas, weights, said = root_levels(levels, 0.004, 0.2)
    assert said == pytest.approx(error, rel=0.01) or said < error
    assert (np.diff(sigmas) < 0).all()
    root = np.geomspace(0.004, 0.2, 20001)[:, None]
    relative = (weights * sigmas * root / (root**2 + sigmas**2)).sum(axis=1) - 1
    assert np.abs(relative).max() == pytest.approx(said, rel=1e-3)
    # The best has its largest error 2n + 1 times, with both signs in turn.
    peaks = relative[np.abs(relative) > 0.999 * said]
    assert 1 + np.count_nonzero(np.diff(np.sign(peaks))) == 2 * levels + 1


def test_an_item_draws_the_same_in_any_batch_and_other_seeds_otherwise():
    given = posterior(torch.complex128)
    both, _ = draw_gaussian(given.denoiser, given.mean.expand(2, 5), 3, generators(4, 5))
    alone, _ = draw_gaussian(given.denoiser, given.mean[None], 3, generators(5))
    torch.testing.assert_close(both[:, 1], alone[:, 0])
    assert not torch.allclose(both[:, 0], both[:, 1])


def test_an_odd_number_of_draws_begins_as_the_even_one():
    given = posterior(torch.complex128)
    odd, _ = draw_gaussian(given.denoiser, given.mean[None], 5, generators(4))
    even, _ = draw_gaussian(given.denoiser, given.mean[None], 6, generators(4))
    assert torch.equal(odd, even[:5])


def test_progress_ends_at_one():
    given = posterior(torch.float64)
    told: list[float] = []
    draw_gaussian(given.denoiser, given.mean[None], 5, generators(0), progress=told.append)
    assert told == pytest.approx([1 / 3, 2 / 3, 1])


def test_two_peaks_become_one():
    """What the docstring says: only a sampler shows two answers."""
    peaks = torch.tensor([[-0.1], [0.1]], dtype=torch.float64)
    given = MixturePosterior(torch.tensor([0.5, 0.5], dtype=torch.float64), peaks, 0.005)
    mean = torch.zeros(1, 1, dtype=torch.float64)
    draws, _ = draw_gaussian(given.denoiser, mean, 2000, generators(3))
    near = (draws.abs() - 0.1).abs() < 0.02  # four standard deviations of a peak
    assert float(near.double().mean()) < 0.5


@pytest.mark.parametrize("wrong", [(0, 0.1, 1.0), (2, 0.0, 1.0), (2, 1.0, 0.5)])
def test_levels_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match="root_levels needs"):
        root_levels(*wrong)
