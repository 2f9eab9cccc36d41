"""Samplers of x₀ from its denoiser: x_t = x₀ + σ_t ε, ε ~ CN(0, I), E|ε|² = 1 (real images: N(0, I)).

Each takes (denoiser, x, sigmas, generators, callback=None) and changes only the generators' state:

    denoiser    D(x_t, σ_t) → E[x₀ | x_t, …], x_t (batch, *item), σ_t (batch,) > 0, ∞ allowed
    x           x_t at σ_0, (batch, *item), as `start` or `warm_start` draw it
    sigmas      decreasing to 0, (steps + 1,) or (steps + 1, batch), as `schedules` make them
    generators  one for each item: an item draws the same numbers whatever it is batched with
    callback    called at each step with (step, σ_t, x_t, D(x_t, σ_t))

The equations are those of Karras et al., Elucidating the design space of diffusion-based generative models
(2022), with s(t) = 1, σ(t) = t: dx/dσ = (x − D(x; σ))/σ (eq. 1 and 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mrunfold.errors import InputError

__all__ = [
    "Callback",
    "Denoiser",
    "Sampler",
    "complex_noise_like",
    "sample_ancestral",
    "sample_ddim",
    "sample_heun",
    "sample_stochastic",
    "start",
    "warm_start",
]

Denoiser = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[int, Tensor, Tensor, Tensor], None]


class Sampler(Protocol):
    """What every sampler is: a pure function from noise at sigmas[0] to a sample."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        generators: Sequence[torch.Generator],
        callback: Callback | None = None,
    ) -> Tensor: ...


def complex_noise_like(x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return ε of the shape and dtype of x (batch, *item), item i drawn by generators[i].

    Complex: CN(0, I), variance ½ in each part, E|ε|² = 1; real: N(0, I).  Drawn where the generator
    lives, then moved: a seed gives the same noise on every device.
    """
    if x.ndim < 1 or len(generators) != x.shape[0]:
        raise InputError(
            f"noise for {tuple(x.shape)} needs one generator for each of the {x.shape[0] if x.ndim else 0} "
            f"items, got {len(generators)}"
        )
    draws = [torch.randn(x.shape[1:], dtype=x.dtype, device=g.device, generator=g) for g in generators]
    return torch.stack(draws).to(x.device) if draws else torch.empty_like(x)


def start(like: Tensor, sigma_start: float | Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return x = σ_start ε of the shape of `like` (batch, *item): where σ_start is far above every |x₀|.

    sigma_start: a number or (batch,), the schedule's first.
    """
    return warm_start(torch.zeros_like(like), sigma_start, generators)


def warm_start(
    denoised_inf: Tensor, sigma_start: float | Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Return x = D(∞) + σ_start ε, from which a few steps suffice: p_σ(x|y) ≈ N(E[x₀|y], σ²).

    denoised_inf: denoiser(anything, ∞) = E[x₀|y] (batch, *item); sigma_start: a number or (batch,), a few
    times the posterior's spread, and the schedule's first.
    """
    sigma = torch.as_tensor(sigma_start, dtype=denoised_inf.real.dtype, device=denoised_inf.device)
    sigma = sigma.expand(denoised_inf.shape[0])
    return denoised_inf + _column(sigma, denoised_inf) * complex_noise_like(denoised_inf, generators)


@torch.no_grad()
def sample_heun(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
) -> Tensor:
    """Return x₀ by Heun's 2nd-order method: 2 evaluations a step, the last step 1.  Algorithm 1."""
    t = _levels(x, sigmas, generators)
    last = len(t) - 2
    for i in range(last + 1):
        t_i, t_next = _column(t[i], x), _column(t[i + 1], x)
        denoised = denoiser(x, t[i])
        if callback is not None:
            callback(i, t[i], x, denoised)
        d = (x - denoised) / t_i  # dx/dt at t_i
        x_next = x + (t_next - t_i) * d  # Euler step
        if i < last:
            d_next = (x_next - denoiser(x_next, t[i + 1])) / t_next
            x_next = x + (t_next - t_i) * (d + d_next) / 2  # trapezoidal rule
        x = x_next
    return x


@torch.no_grad()
def sample_ddim(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
) -> Tensor:
    """Return x₀ by Euler steps of dx/dσ, which are DDIM's with η = 0: 1 evaluation a step.

    Song, Meng and Ermon, Denoising diffusion implicit models (2021), eq. 12 and 13, in x̄ = x/√α, σ.
    """
    sigma = _levels(x, sigmas, generators)
    for i in range(len(sigma) - 1):
        denoised = denoiser(x, sigma[i])
        if callback is not None:
            callback(i, sigma[i], x, denoised)
        ratio = _column(sigma[i + 1] / sigma[i], x)
        x = denoised + ratio * (x - denoised)  # x + (σ_next − σ)·(x − D)/σ
    return x


@torch.no_grad()
def sample_stochastic(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
    *,
    s_churn: float = 40.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
) -> Tensor:
    """Return x₀ by Heun's method with fresh noise at each step: evaluations as `sample_heun`.  Algorithm 2.

    s_churn: noise added over all steps, at most (√2 − 1)·steps; s_tmin, s_tmax: σ between which it is added;
    s_noise: its standard deviation, above 1 against a denoiser that removes too much.
    """
    t = _levels(x, sigmas, generators)
    last = len(t) - 2
    gamma_max = min(s_churn / (last + 1), math.sqrt(2) - 1)
    for i in range(last + 1):
        gamma = torch.where((t[i] >= s_tmin) & (t[i] <= s_tmax), gamma_max, 0.0)
        t_hat = t[i] + gamma * t[i]
        noise = s_noise * complex_noise_like(x, generators)
        x_hat = x + _column((t_hat**2 - t[i] ** 2).sqrt(), x) * noise  # from t_i up to t̂_i
        denoised = denoiser(x_hat, t_hat)
        if callback is not None:
            callback(i, t_hat, x_hat, denoised)
        step = _column(t[i + 1] - t_hat, x)
        d = (x_hat - denoised) / _column(t_hat, x)  # dx/dt at t̂_i
        x = x_hat + step * d  # Euler step
        if i < last:
            d_next = (x - denoiser(x, t[i + 1])) / _column(t[i + 1], x)
            x = x_hat + step * (d + d_next) / 2  # trapezoidal rule
    return x


@torch.no_grad()
def sample_ancestral(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
) -> Tensor:
    """Return x₀ by q(x_next | x_t, x₀) with D for x₀, which is DDPM: 1 evaluation a step, exact for many.

    Ho, Jain and Abbeel, Denoising diffusion probabilistic models (2020), eq. 6 and 7, in x̄ = x/√ᾱ, σ:
    mean x₀ + (σ_next²/σ²)(x_t − x₀), variance σ_next² (σ² − σ_next²)/σ².
    """
    sigma = _levels(x, sigmas, generators)
    last = len(sigma) - 2
    for i in range(last + 1):
        denoised = denoiser(x, sigma[i])
        if callback is not None:
            callback(i, sigma[i], x, denoised)
        ratio = (sigma[i + 1] / sigma[i]) ** 2
        x = denoised + _column(ratio, x) * (x - denoised)  # eq. 7, mean
        if i < last:
            spread = sigma[i + 1] * (1 - ratio).sqrt()  # eq. 7, √β̃
            x = x + _column(spread, x) * complex_noise_like(x, generators)
    return x


def _column(sigma: Tensor, x: Tensor) -> Tensor:
    """(batch,) → (batch, 1, …), to multiply x (batch, *item)."""
    return sigma.reshape(-1, *(1,) * (x.ndim - 1))


def _levels(x: Tensor, sigmas: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return the noise levels (steps + 1, batch) in the precision of x (batch, *item), checked."""
    batch = x.shape[0] if x.ndim else 0
    if len(generators) != batch:
        raise InputError(
            f"a sampler needs x (batch, *item) and one generator for each item, got x {tuple(x.shape)} "
            f"and {len(generators)} generators"
        )
    levels = sigmas[:, None] if sigmas.ndim == 1 else sigmas
    if levels.ndim != 2 or levels.shape[0] < 2 or levels.shape[1] not in (1, batch):
        raise InputError(
            f"a sampler needs sigmas (steps + 1,) or (steps + 1, {batch}) with a step or more, got "
            f"{tuple(sigmas.shape)}; make them with mrunfold.diffusion.karras"
        )
    if not bool((levels[1:] < levels[:-1]).all() & (levels[-1] == 0).all() & torch.isfinite(levels).all()):
        raise InputError(
            "a sampler needs finite sigmas that decrease to 0; make them with mrunfold.diffusion.karras"
        )
    return levels.to(dtype=x.real.dtype, device=x.device).expand(-1, batch)
