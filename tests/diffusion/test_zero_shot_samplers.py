"""Samplers of other groups: the contract without a measurement, and Gaussian posteriors with one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from mrunfold.diffusion import (
    Measurement,
    karras,
    sample_daps,
    sample_ddnm,
    sample_dds,
    sample_diffpir,
    sample_dps,
    start,
    variance_preserving,
)
from mrunfold.errors import InputError
from mrunfold.operators import FourierMask, Nufft, Sense
from mrunfold.operators.imaging import Blur, Inpaint
from mrunfold.testing import GaussianPosterior, SamplerContract, dense_matrix


class Contract(SamplerContract):
    """Without a measurement, noise that is made new in a share of each step that goes to 0 is exact; the
    published shares are not, see `test_near_the_gaussian_posterior`.  Few draws: the solvers' own tests take
    more."""

    draws = 250
    tolerance = 0.15


class TestDps(Contract):
    steps = 250

    def sampler(self):
        return sample_dps


class TestDdnm(Contract):
    steps = 160

    def sampler(self):
        return partial(sample_ddnm, eta=0.1)


class TestDds(Contract):
    steps = 160

    def sampler(self):
        return partial(sample_dds, eta=0.1)


class TestDiffPir(Contract):
    steps = 160

    def sampler(self):
        return partial(sample_diffpir, zeta=0.01)


class TestDaps(Contract):
    steps = 15

    def sampler(self):
        return partial(sample_daps, time=1e-4, ode_steps=30)


# --- with a measurement ---

SIZE, PIXELS, ITEMS = (4, 4), 16, 40
MU, SPREAD, SIGMA_Y = 0.5, 0.3, 0.1


def third():
    return (torch.arange(PIXELS).reshape(SIZE) % 3 != 0).double()


def sense():
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(1, 2, *SIZE, dtype=torch.complex128, generator=generator)
    return Sense(maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True), third())


def nufft():
    k = torch.rand(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) - 0.5
    maps = torch.ones(1, 1, *SIZE, dtype=torch.complex128)
    return Nufft(maps, k)


OPERATORS = {
    "inpaint": lambda: Inpaint(third(), 1, torch.float64),
    "blur": lambda: Blur(
        torch.tensor([[0.0, 0.1, 0.0], [0.2, 0.4, 0.2], [0.0, 0.1, 0.0]], dtype=torch.float64), (1, *SIZE)
    ),
    "fourier": lambda: FourierMask(third(), torch.complex128),
    "sense": sense,
    "nufft": nufft,
}


def gaussian(A, items):
    """Return the measurement of a draw of N(MU, SPREAD²), the exact posterior and the prior's denoiser."""
    dtype, generator = A.domain.dtype, torch.Generator().manual_seed(5)
    x0 = MU + SPREAD * torch.randn(*A.domain.shape, dtype=dtype, generator=generator)
    y = A(x0)
    y = y + SIGMA_Y * A.observed() * torch.randn(y.shape, dtype=dtype, generator=generator)
    mu = torch.full((PIXELS,), MU, dtype=dtype)
    exact = GaussianPosterior.from_measurement(dense_matrix(A), y.flatten(), SIGMA_Y, mu, SPREAD)
    sigma_y = torch.full((items,), SIGMA_Y, dtype=torch.float64)
    given = Measurement(y.expand(items, *y.shape), A, sigma_y)

    def denoiser(x_t, sigma_t):
        variance = sigma_t[:, None, None, None] ** 2
        return (SPREAD**2 * x_t + variance * MU) / (SPREAD**2 + variance)

    return given, exact, denoiser


def draws(sampler, A, sigmas, items=ITEMS):
    given, exact, denoiser = gaussian(A, items)
    generators = [torch.Generator().manual_seed(i) for i in range(items)]
    nothing = torch.zeros(items, *A.domain.shape, dtype=A.domain.dtype)
    x = start(nothing, float(sigmas[0]), generators)
    return sampler(denoiser, x, sigmas, generators, given=given), exact


# Sampler, levels, how far its mean may be in posterior standard deviations, its spread over the exact one,
# both root mean squares over pixels.  None is exact: DPS and DDS do not know σ_y, DiffPIR and DDNM make much
# noise new, DAPS's chain ends early.
CASES = {
    "dps": (sample_dps, variance_preserving(100), 0.8, (0.4, 1.15)),
    "diffpir": (
        partial(sample_diffpir, zeta=0.3),
        variance_preserving(50, quadratic=True),
        0.4,
        (0.75, 1.05),
    ),
    "ddnm": (sample_ddnm, variance_preserving(50), 0.4, (0.65, 0.95)),
    "daps": (sample_daps, karras(20, 0.05, 50.0), 0.5, (0.6, 1.15)),
    "dds": (sample_dds, variance_preserving(50), 1.3, (0.15, 0.95)),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", CASES)
def test_near_the_gaussian_posterior(name, operator):
    sampler, sigmas, most, (low, high) = CASES[name]
    found, exact = draws(sampler, OPERATORS[operator](), sigmas)
    std = exact.covariance.diagonal().real.sqrt()
    off = (found.flatten(1).mean(dim=0) - exact.mean).abs() / std
    assert float(off.square().mean().sqrt()) < most
    ratio = found.flatten(1).std(dim=0) / std
    assert low < float(ratio.square().mean().sqrt()) < high


@pytest.mark.parametrize("name", CASES)
def test_draws_explain_the_data(name):
    A = OPERATORS["fourier"]()
    found, _ = draws(CASES[name][0], A, CASES[name][1], items=40)
    given, _, _ = gaussian(A, 40)
    off = (given.y - A(found)).abs().square().sum(dim=(1, 2, 3)) / A.observed().sum()
    # Draws of the exact posterior are 1.3 to 1.4 σ_y away, the prior's mean 3.
    assert float(off.mean().sqrt()) < 1.8 * SIGMA_Y


@pytest.mark.parametrize("name", CASES)
def test_an_item_is_drawn_as_if_it_were_alone(name):
    sampler, A = CASES[name][0], OPERATORS["sense"]()
    given, _, denoiser = gaussian(A, 3)
    x = torch.randn(3, *A.domain.shape, dtype=A.domain.dtype, generator=torch.Generator().manual_seed(2))

    def run(items):
        part = Measurement(given.y[items], A, given.sigma_y[items])
        seeds = [torch.Generator().manual_seed(i) for i in range(3)][items]
        return sampler(denoiser, 20 * x[items], karras(6, 0.05, 20.0), seeds, given=part)

    assert torch.allclose(run(slice(0, 3))[2], run(slice(2, 3))[0], atol=1e-5)


def test_dps_at_a_residual_of_zero_stays_finite():
    A = OPERATORS["fourier"]()
    given = Measurement(torch.zeros(1, *A.range.shape, dtype=torch.complex128), A, torch.ones(1).double())
    x = torch.ones(1, *A.domain.shape, dtype=torch.complex128)
    generators = [torch.Generator().manual_seed(0)]
    out = sample_dps(lambda x_t, s: 0 * x_t, x, karras(3, 0.1, 1.0), generators, given=given)
    assert not bool(out.abs().max() > 1e-12)


def test_levels_of_ddpm():
    levels = variance_preserving(1000)
    assert len(levels) == 1001
    assert float(levels[0]) == pytest.approx(157.4, abs=0.1)
    assert float(levels[-2]) == pytest.approx(0.01, abs=1e-4)
    assert float(levels[-1]) == 0
    dense, even = variance_preserving(100, quadratic=True), variance_preserving(100)
    assert float(dense[50]) < float(even[50])
    assert bool((dense[1:] < dense[:-1]).all())
    assert float(variance_preserving(10, sigma_max=2.0)[0]) == pytest.approx(2.0, rel=0.01)
    with pytest.raises(InputError, match="1 to 1000 steps, got 1001"):
        variance_preserving(1001)
    with pytest.raises(InputError, match="least level"):
        variance_preserving(10, sigma_max=0.001)
