"""What every sampler must keep to: exact posteriors, seeds by item, no hidden state."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.diffusion import Sampler, karras
from mrunfold.testing.posteriors import GaussianPosterior, MixturePosterior

__all__ = ["SamplerContract"]


def global_state() -> dict[str, Any]:
    words = np.random.get_state()  # noqa: NPY002 (looked at, not drawn from)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (words[1].tobytes(), words[2]),  # type: ignore[index]
        "random": random.getstate(),
    }


class SamplerContract(ABC):
    """Tests of a sampler against posteriors in closed form: subclass it as Test…, give `sampler`.

        class TestMine(SamplerContract):
            def sampler(self):
                return sample_mine

    steps: of the schedules it is judged with, more for a method of first order; tolerance: relative error of
    the covariance and error of the mean in standard deviations, statistical (draws) and of discretisation.
    """

    dtypes: tuple[torch.dtype, ...] = (torch.float64, torch.complex128)
    steps: int = 80
    tolerance: float = 0.08
    items: int = 8
    draws: int = 1000  # an item, all from its own generator

    @abstractmethod
    def sampler(self) -> Sampler:
        """Return the sampler under test."""

    def pytest_generate_tests(self, metafunc: Any) -> None:
        if "dtype" in metafunc.fixturenames:
            metafunc.parametrize("dtype", self.dtypes, ids=lambda d: str(d).removeprefix("torch."))

    # --- the problem --------------------------------------------------------------------------------------

    @staticmethod
    def posterior(dtype: torch.dtype) -> GaussianPosterior:
        """Six unknowns, four measurements with a dense A: standard deviations from 0.3 to 1."""
        g = torch.Generator().manual_seed(1)
        left, _ = torch.linalg.qr(torch.randn(4, 4, dtype=dtype, generator=g))
        right, _ = torch.linalg.qr(torch.randn(6, 6, dtype=dtype, generator=g))
        gains = torch.tensor([1.0, 0.8, 0.5, 0.3], dtype=torch.float64).to(dtype)
        matrix = (left * gains) @ right[:4]
        mu = torch.randn(6, dtype=dtype, generator=g)
        return GaussianPosterior.from_measurement(
            matrix, torch.randn(4, dtype=dtype, generator=g), 0.32, mu, 1.0
        )

    def schedule(self, steps: int | None = None) -> Tensor:
        return karras(steps or self.steps, sigma_min=0.03, sigma_max=15.0)

    def generators(self, items: int | None = None, first: int = 0) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(7 + i) for i in range(first, first + (items or self.items))]

    def noise(self, shape: tuple[int, ...], dtype: torch.dtype, first: int = 0) -> Tensor:
        """σ_0 ε, E|ε|² = 1, item by item."""
        draws = [
            torch.randn(shape[1:], dtype=dtype, generator=torch.Generator().manual_seed(1000 + first + i))
            for i in range(shape[0])
        ]
        return self.schedule()[0] * torch.stack(draws)

    def draw(self, posterior: Any, size: int, dtype: torch.dtype) -> Tensor:
        """Return samples (items·draws, size) of the posterior."""
        x = self.noise((self.items, self.draws, size), dtype)
        x = x + posterior.denoiser(x, torch.full((self.items,), torch.inf, dtype=torch.float64))
        return self.sampler()(posterior.denoiser, x, self.schedule(), self.generators()).reshape(-1, size)

    # --- distributions ------------------------------------------------------------------------------------

    def test_samples_have_the_gaussian_posteriors_mean_and_covariance(self, dtype: torch.dtype) -> None:
        posterior = self.posterior(dtype)
        samples = self.draw(posterior, 6, dtype)
        whiten = torch.linalg.inv(torch.linalg.cholesky(posterior.covariance))
        z = (samples - posterior.mean) @ whiten.mT
        mean = float(z.mean(dim=0).abs().max())
        assert mean < self.tolerance, f"the mean is off by {mean:.3f} posterior standard deviations"
        covariance = z.mT @ z.conj() / len(z)
        error = float((covariance - torch.eye(6, dtype=dtype)).abs().max())
        assert error < self.tolerance, f"the covariance is off by {error:.3f} of the posterior's"
        if dtype.is_complex:
            pseudo = float((z.mT @ z / len(z)).abs().max())
            assert pseudo < self.tolerance, f"real and imaginary parts are unlike or correlated: {pseudo:.3f}"

    def test_two_peaks_get_their_weights(self, dtype: torch.dtype) -> None:
        weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
        means = torch.tensor([[1.0, 0.5], [-1.0, -0.5]], dtype=torch.float64).to(dtype)
        posterior = MixturePosterior(weights, means, spread=0.3)
        samples = self.draw(posterior, 2, dtype)
        nearest = (samples[:, None] - means).abs().square().sum(dim=-1).argmin(dim=-1)
        share = float((nearest == 0).double().mean())
        assert abs(share - 0.3) < 0.03, f"the peak of weight 0.3 got {share:.3f}"
        for k in range(2):
            off = float((samples[nearest == k].mean(dim=0) - means[k]).abs().max())
            assert off < 0.3 * self.tolerance + 0.01, f"peak {k} is off by {off:.3f}, its spread being 0.3"

    def test_the_last_step_reaches_zero_noise(self, dtype: torch.dtype) -> None:
        target = torch.linspace(-1, 1, 6, dtype=torch.float64).to(dtype)
        x = self.noise((3, 6), dtype)
        out = self.sampler()(lambda x, s: target.expand_as(x), x, self.schedule(10), self.generators(3))
        off = float((out - target).abs().max())
        assert off < 1e-9, f"where x₀ is known the sample is off by {off:.1e}: the step to σ = 0 is missing"

    # --- items, state, callback ---------------------------------------------------------------------------

    def test_an_items_sample_does_not_depend_on_its_batch(self, dtype: torch.dtype) -> None:
        posterior, sigmas, sampler = self.posterior(dtype), self.schedule(10), self.sampler()
        together = sampler(posterior.denoiser, self.noise((4, 5, 6), dtype), sigmas, self.generators(4))
        for i in range(4):
            x = self.noise((1, 5, 6), dtype, first=i)
            alone = sampler(posterior.denoiser, x, sigmas, self.generators(1, first=i))
            off = float((together[i] - alone[0]).abs().max())
            assert off < 1e-10, f"item {i} of 4 differs by {off:.1e} from the same item alone"

    def test_the_same_seeds_give_the_same_sample(self, dtype: torch.dtype) -> None:
        posterior, x = self.posterior(dtype), self.noise((2, 6), dtype)
        a, b = (self.sampler()(posterior.denoiser, x, self.schedule(5), self.generators(2)) for _ in range(2))
        assert torch.equal(a, b), "two runs with the same seeds differ"

    def test_nothing_else_is_changed(self, dtype: torch.dtype) -> None:
        x, sigmas = self.noise((2, 6), dtype), self.schedule(5)
        before = x.clone(), sigmas.clone()
        state = global_state()
        out = self.sampler()(self.posterior(dtype).denoiser, x, sigmas, self.generators(2))
        assert torch.equal(x, before[0]), "the sampler changed its x"
        assert torch.equal(sigmas, before[1]), "the sampler changed its sigmas"
        assert (out.shape, out.dtype) == (x.shape, x.dtype), f"{x.dtype} came back as {out.dtype} {out.shape}"
        drawn = [name for name, value in global_state().items() if value != state[name]]
        assert not drawn, f"the sampler drew from the global generator of {', '.join(drawn)}"

    def test_the_denoiser_is_asked_as_it_expects(self, dtype: torch.dtype) -> None:
        posterior = self.posterior(dtype)

        def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
            assert x.shape == (3, 6), f"x_t came as {tuple(x.shape)}, not (batch, *item) = (3, 6)"
            assert sigma.shape == (3,), f"sigma_t came as {tuple(sigma.shape)}, not (batch,) = (3,)"
            assert sigma.dtype == x.real.dtype, f"sigma_t came as {sigma.dtype} with x_t {x.dtype}"
            assert bool((sigma > 0).all()), "sigma_t = 0: the denoiser was asked about a clean image"
            return posterior.denoiser(x, sigma)

        self.sampler()(denoiser, self.noise((3, 6), dtype), self.schedule(5), self.generators(3))

    def test_the_callback_sees_every_step(self, dtype: torch.dtype) -> None:
        posterior, sigmas = self.posterior(dtype), self.schedule(6)
        x = self.noise((2, 6), dtype)
        seen: list[tuple[int, Tensor, Tensor, Tensor]] = []
        kept = self.sampler()(
            posterior.denoiser, x, sigmas, self.generators(2), callback=lambda *a: seen.append(a)
        )
        assert [a[0] for a in seen] == list(range(6)), f"steps reported: {[a[0] for a in seen]}"
        for i, sigma, x_t, denoised in seen:
            assert sigma.shape == (2,), f"σ came as {tuple(sigma.shape)}, not (batch,)"
            assert bool((sigma >= sigmas[i] * (1 - 1e-12)).all()), f"step {i} is below its σ"
            exact = torch.allclose(denoised, posterior.denoiser(x_t, sigma), rtol=1e-9, atol=1e-12)
            assert exact, f"step {i}: denoised is not D(x_t, σ_t) of the x_t and σ_t reported"
        silent = self.sampler()(posterior.denoiser, x, sigmas, self.generators(2))
        assert torch.equal(kept, silent), "a callback changed the sample"
