"""Every sampler keeps the contract, and the contract notices samplers that are wrong by a constant."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

from mrunfold.diffusion import (
    complex_noise_like,
    karras,
    sample_ancestral,
    sample_ddim,
    sample_heun,
    sample_stochastic,
    start,
    warm_start,
)
from mrunfold.errors import InputError
from mrunfold.testing import GaussianPosterior, SamplerContract

ALL = [sample_heun, sample_ddim, sample_stochastic, sample_ancestral]


class TestHeun(SamplerContract):
    steps = 40

    def sampler(self):
        return sample_heun


class TestDdim(SamplerContract):
    steps = 160

    def sampler(self):
        return sample_ddim


class TestStochastic(SamplerContract):
    def sampler(self):
        return sample_stochastic


class TestAncestral(SamplerContract):
    steps = 250

    def sampler(self):
        return sample_ancestral


# --- the contract can fail ---


def loop(update):
    """A sampler of first order from `update(x, denoised, sigma, sigma_next, generators)`."""

    def sample(denoiser, x, sigmas, generators, callback=None):
        for i in range(len(sigmas) - 1):
            sigma = sigmas[i].expand(x.shape[0]).to(x.real.dtype)
            denoised = denoiser(x, sigma)
            if callback is not None:
                callback(i, sigma, x, denoised)
            x = update(x, denoised, sigmas[i], sigmas[i + 1], generators)
        return x

    return sample


def ancestral(scale=1.0, draw=complex_noise_like):
    def update(x, denoised, sigma, sigma_next, generators):
        ratio = (sigma_next / sigma) ** 2
        noise = draw(x, generators)
        return denoised + ratio * (x - denoised) + scale * sigma_next * (1 - ratio).sqrt() * noise

    return loop(update)


def unit_parts(x, generators):
    """Complex noise of variance 1 in each part: the √2 that everybody forgets."""
    noise = complex_noise_like(x, generators)
    return noise * math.sqrt(2) if x.is_complex() else noise


def one_part(x, generators):
    return math.sqrt(2) * complex_noise_like(x, generators).real + 0 * x


def from_the_first(x, generators):
    """Noise of the whole batch from one generator."""
    return torch.randn(x.shape, dtype=x.dtype, generator=generators[0])


def from_the_global(x, generators):
    return torch.randn(x.shape, dtype=x.dtype)


def without_last_step(denoiser, x, sigmas, generators, callback=None):
    def update(x, denoised, sigma, sigma_next, generators):
        return x if sigma_next == 0 else denoised + sigma_next / sigma * (x - denoised)

    return loop(update)(denoiser, x, sigmas, generators, callback)


def in_place(denoiser, x, sigmas, generators, callback=None):
    return x.copy_(sample_ddim(denoiser, x, sigmas, generators, callback))


def variance_for_sigma(denoiser, x, sigmas, generators, callback=None):
    """σ_t² handed to a denoiser that expects σ_t."""
    return sample_heun(lambda x, s: denoiser(x, s**2), x, sigmas, generators, callback)


def by_the_batch(denoiser, x, sigmas, generators, callback=None):
    out = sample_ddim(denoiser, x, sigmas, generators, callback)
    return out + 1e-6 * (out.mean() if len(out) > 1 else 0)


BROKEN = {
    "complex noise of variance 2": (ancestral(draw=unit_parts), "gaussian"),
    "noise in the real part only": (ancestral(draw=one_part), "gaussian"),
    "noise too small by √2": (ancestral(scale=1 / math.sqrt(2)), "gaussian"),
    "noise too large by a fifth": (ancestral(scale=1.2), "gaussian"),
    "probability flow of half the speed": (
        loop(lambda x, d, s, n, g: x + 0.5 * (n - s) / s * (x - d)),
        "last_step",
    ),
    "σ² for σ": (variance_for_sigma, "gaussian"),
    "no last step": (without_last_step, "last_step"),
    "one generator for the batch": (ancestral(draw=from_the_first), "depend_on_its_batch"),
    "a mean over the batch": (by_the_batch, "depend_on_its_batch"),
    "global random state": (ancestral(draw=from_the_global), "nothing_else_is_changed"),
    "in place": (in_place, "nothing_else_is_changed"),
    "no callback": (lambda d, x, s, g, callback=None: sample_heun(d, x, s, g), "callback"),
    "collapse to the mean": (
        lambda d, x, s, g, callback=None: d(x, torch.full((len(x),), torch.inf)),
        "two_peaks",
    ),
}


def failures(sampler, tests=""):
    """Names of the contract's tests, of those with `tests` in their name, that a sampler fails."""

    class Contract(SamplerContract):
        steps = 160
        tolerance = 0.11

        def sampler(self):
            return sampler

    contract, failed = Contract(), []
    for name, test in inspect.getmembers(contract, inspect.ismethod):
        if name.startswith("test_") and tests in name:
            try:
                for dtype in reversed(contract.dtypes):
                    test(dtype)
            except AssertionError:
                failed.append(name)
    return failed


@pytest.mark.parametrize("name", BROKEN)
def test_the_contract_fails_a_sampler_with(name):
    sampler, expected = BROKEN[name]
    assert len(failures(sampler, expected)) == 1


def test_the_contract_passes_the_loop_the_broken_ones_are_made_of():
    assert failures(ancestral()) == []


# --- posteriors, starts, noise ---


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_exact_denoiser_is_the_least_squares_solution(dtype):
    g = torch.Generator().manual_seed(0)
    matrix, y = torch.randn(4, 6, dtype=dtype, generator=g), torch.randn(4, dtype=dtype, generator=g)
    mu, x_t = torch.randn(6, dtype=dtype, generator=g), torch.randn(1, 6, dtype=dtype, generator=g)
    sigma_y, sigma_t, spread = 0.3, 0.7, 1.3
    posterior = GaussianPosterior.from_measurement(matrix, y, sigma_y, mu, spread)
    eye = torch.eye(6, dtype=dtype)
    rows = torch.cat([matrix / sigma_y, eye / sigma_t, eye / spread])
    right = torch.cat([y / sigma_y, x_t[0] / sigma_t, mu / spread])
    expected = torch.linalg.lstsq(rows, right[:, None]).solution[:, 0]
    torch.testing.assert_close(posterior.denoiser(x_t, torch.tensor([sigma_t]).double())[0], expected)
    infinite = posterior.denoiser(x_t, torch.tensor([torch.inf]).double())[0]
    torch.testing.assert_close(infinite, posterior.mean)


def test_a_warm_start_needs_few_steps():
    """From D(∞) + σ_start ε, σ_start five times the spread, 12 steps give the posterior to a few per cent."""
    dtype = torch.complex128
    posterior = SamplerContract.posterior(dtype)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    like = torch.zeros(4, 5000, 6, dtype=dtype)
    mean = posterior.denoiser(like, torch.full((4,), torch.inf))
    x = sample_heun(posterior.denoiser, warm_start(mean, 5.0, generators), karras(12, 0.05, 5.0), generators)
    z = (x.reshape(-1, 6) - posterior.mean) @ torch.linalg.inv(torch.linalg.cholesky(posterior.covariance)).mT
    assert z.mean(dim=0).abs().max() < 0.05
    assert (z.mT @ z.conj() / len(z) - torch.eye(6)).abs().max() < 0.08


def test_noise_has_unit_variance_in_each_dtype():
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        noise = complex_noise_like(torch.empty(2, 50_000, dtype=dtype), generators)
        assert noise.dtype == dtype
        assert float(noise.abs().square().mean()) == pytest.approx(1, abs=0.03)
        assert abs(complex(noise.mean())) < 0.02
        assert not torch.equal(noise[0], noise[1])
        if dtype.is_complex:
            assert float(noise.imag.square().mean()) == pytest.approx(0.5, abs=0.02)
            assert abs(complex(noise.square().mean())) < 0.03


def test_start_is_noise_at_each_items_sigma():
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    x = start(torch.ones(2, 50_000, dtype=torch.complex64), torch.tensor([2.0, 8.0]), generators)
    spread = x.abs().square().mean(dim=-1).sqrt()
    torch.testing.assert_close(spread, torch.tensor([2.0, 8.0]), rtol=0.02, atol=0)
    assert x.mean(dim=-1).abs().max() < 0.15


@pytest.mark.parametrize("sampler", ALL)
def test_a_schedule_of_each_item_is_that_items_alone(sampler):
    posterior = SamplerContract.posterior(torch.complex128)
    highest = torch.tensor([3.0, 20.0])
    sigmas = karras(9, 0.05, highest)
    x = torch.zeros(2, 6, dtype=torch.complex128)

    def generators():
        return [torch.Generator().manual_seed(i) for i in range(2)]

    together = sampler(posterior.denoiser, start(x, highest, generators()), sigmas, generators())
    for i in range(2):
        first = start(x[:1], highest[i], generators()[i : i + 1])
        alone = sampler(
            posterior.denoiser, first, karras(9, 0.05, float(highest[i])), generators()[i : i + 1]
        )
        torch.testing.assert_close(together[i], alone[0], rtol=1e-9, atol=1e-10)


def test_churn_happens_between_tmin_and_tmax_only():
    x, seen = torch.zeros(1, 3, dtype=torch.float64), []
    sigmas = karras(10, 0.1, 10.0)
    sample_stochastic(
        lambda x, s: x / (1 + s[:, None] ** 2),
        x,
        sigmas,
        [torch.Generator().manual_seed(0)],
        lambda i, s, *_: seen.append(float(s)),
        s_churn=2.0,
        s_tmin=0.5,
        s_tmax=5.0,
    )
    raised = [s > float(t) * 1.0001 for s, t in zip(seen, sigmas[:-1], strict=True)]
    assert raised == [0.5 <= float(t) <= 5.0 for t in sigmas[:-1]]
    assert seen[4] / float(sigmas[4]) == pytest.approx(1.2)


@pytest.mark.parametrize("sampler", ALL)
def test_bad_input_is_named(sampler):
    x, generators = torch.zeros(2, 3), [torch.Generator(), torch.Generator()]
    good = karras(4, 0.1, 1.0)
    with pytest.raises(InputError, match="one generator for each item"):
        sampler(lambda x, s: x, x, good, generators[:1])
    for bad in (good[:-1], good.flip(0), good[-1:], good[:, None].expand(-1, 3), good[:0]):
        with pytest.raises(InputError, match="sigmas"):
            sampler(lambda x, s: x, x, bad, generators)
    with pytest.raises(InputError, match="got 1"):
        complex_noise_like(x, generators[:1])
