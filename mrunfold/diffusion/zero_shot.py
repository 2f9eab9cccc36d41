"""Samplers of p(x₀ | y) that need no training for it: a denoiser of images alone, and A at each step.

Their first arguments are those of `samplers`: x_t = x₀ + σ_t ε, `denoiser` gives E[x₀ | x_t] without any
measurement.  `given` is the measurement; None for none, and each is then a sampler of the prior.  Papers that
scale the state so that its variance is preserved have x_t √ᾱ_t here, σ_t = √(1/ᾱ_t − 1).

They are written here although deepinv has three of them.  Its DPS and DiffPIR clamp x₀ to [0, 1], real and
imaginary part alike, and draw from the global generator; its DDRM takes singular values, which multicoil MRI
has not in closed form.  Here `A.solve` is all that is asked of an operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrunfold.diffusion.samplers import (
    Callback,
    Denoiser,
    _column,
    _levels,
    complex_noise_like,
    sample_ddim,
)
from mrunfold.diffusion.schedules import karras
from mrunfold.operators import LinearOperator
from mrunfold.solvers import inner

__all__ = ["Measurement", "sample_daps", "sample_ddnm", "sample_dds", "sample_diffpir", "sample_dps"]

TOLERANCE, STEPS = 1e-4, 30  # of conjugate gradients, where an operator has no closed form


@dataclass(frozen=True)
class Measurement:
    """y = A x₀ + n: y (batch, *A.range.shape), sigma_y (batch,), E|n|² = sigma_y² of complex numbers."""

    y: Tensor
    A: LinearOperator
    sigma_y: Tensor

    def near(
        self, z: Tensor, shift: Tensor, noise: Tensor | None = None, right: Tensor | None = None
    ) -> Tensor:
        """Return argmin_x ‖y + noise − A x‖² + shift ‖x − z‖² (batch, *item); shift: (batch,).

        right: added to the right-hand side of its normal equations.
        """
        back = self.A.adjoint(self.y if noise is None else self.y + noise)
        known = back + _column(shift, z) * z
        known = known if right is None else known + right
        return self.A.solve(known, 1.0, shift, z, tolerance=TOLERANCE, max_iterations=STEPS)


@torch.no_grad()
def sample_dps(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
    *,
    given: Measurement | None = None,
    weight: float = 0.3,
    unit: float = 1.0,
) -> Tensor:
    """Return x₀ by diffusion posterior sampling: an ancestral step, then one down the gradient of ‖y − A D‖.

    x_{t−1} = x'_{t−1} − weight ∇_{x_t} ‖y − A D(x_t)‖: Chung et al., Diffusion posterior sampling for general
    noisy inverse problems (ICLR 2023), Alg. 1, with the step size ζ_i = ζ'/‖y − A D‖ of its section 3.  In
    x_t that is not scaled by √ᾱ_t, it has the factor √(1 + σ_t²) √(1 + σ_{t−1}²); unit: the paper's σ = 1 in
    x's units.  1 evaluation a step, with its gradient.
    """
    sigma = _levels(x, sigmas, generators)
    last = len(sigma) - 2
    for i in range(last + 1):
        if given is None:
            denoised, gradient = denoiser(x, sigma[i]), torch.zeros_like(x)
        else:
            denoised, gradient = _residual(denoiser, x, sigma[i], given)
        if callback is not None:
            callback(i, sigma[i], x, denoised)
        ratio = (sigma[i + 1] / sigma[i]) ** 2
        x_next = denoised + _column(ratio, x) * (x - denoised)
        if i < last:
            x_next = x_next + _column(sigma[i + 1] * (1 - ratio).sqrt(), x) * complex_noise_like(
                x, generators
            )
        scale = ((1 + (sigma[i] / unit) ** 2) * (1 + (sigma[i + 1] / unit) ** 2)).sqrt()
        x = x_next - weight * _column(scale, x) * gradient
    return x


def _residual(denoiser: Denoiser, x: Tensor, sigma: Tensor, given: Measurement) -> tuple[Tensor, Tensor]:
    """Return D(x_t, σ_t) and the gradient of ‖y − A D(x_t, σ_t)‖ in x_t, 0 where the residual is."""
    with torch.enable_grad():
        x_t = x.detach().requires_grad_()
        denoised = denoiser(x_t, sigma)
        off = given.y - given.A(denoised)
        norm = (inner(off, off, given.A.range.ndim) + torch.finfo(off.real.dtype).tiny).sqrt()
        (gradient,) = torch.autograd.grad(norm.sum(), x_t)
    return denoised.detach(), gradient


@torch.no_grad()
def sample_diffpir(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
    *,
    given: Measurement | None = None,
    lamda: float = 1.0,
    zeta: float = 0.1,
) -> Tensor:
    """Return x₀ by DiffPIR: x̂₀ = argmin ‖y − A x‖²/σ_y² + lamda ‖x − D‖²/σ_t², then noise again.

    x_{t−1} = x̂₀ + σ_{t−1} (√(1 − zeta) (x_t − x̂₀)/σ_t + √zeta ε): Zhu et al., Denoising diffusion models for
    plug-and-play image restoration (CVPR workshops 2023), Alg. 1, eq. 13.  1 evaluation a step; the last word
    is the denoiser's.
    """
    sigma = _levels(x, sigmas, generators)
    last = len(sigma) - 2
    for i in range(last + 1):
        clean = denoiser(x, sigma[i])
        if callback is not None:
            callback(i, sigma[i], x, clean)
        if i == last:
            return clean
        if given is not None:
            clean = given.near(clean, lamda * given.sigma_y**2 / sigma[i] ** 2)
        noise = (1 - zeta) ** 0.5 * (x - clean) / _column(sigma[i], x)
        noise = noise + zeta**0.5 * complex_noise_like(x, generators)
        x = clean + _column(sigma[i + 1], x) * noise
    return x


@torch.no_grad()
def sample_ddnm(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
    *,
    given: Measurement | None = None,
    eta: float = 0.85,
) -> Tensor:
    """Return x₀ by DDNM+: what A shows is taken from y, its null space from D, noise made up to σ_{t−1}.

    Wang, Yu and Zhang, Zero-shot image restoration using denoising diffusion null-space model (ICLR 2023),
    eq. 17 to 19.  Its weight of a singular value s, min(1, s σ/σ_y), is s²/(s² + δ) here, δ = (σ_y/(eta
    σ_{t−1}))², which needs no singular values: with H = AᴴA
        x_{t−1} = (H + δ)⁻¹ (Aᴴy + δ D + eta σ_{t−1} (H ε₁ + √δ Aᴴε₂ + δ ε₃)) + √(1 − eta²) σ_{t−1} ε̂,
    ε̂ = (x_t − D)/σ_t: noise of y and of ε together are white, (eta σ_{t−1})².  1 evaluation a step.
    """
    sigma = _levels(x, sigmas, generators)
    last = len(sigma) - 2
    for i in range(last + 1):
        clean = denoiser(x, sigma[i])
        if callback is not None:
            callback(i, sigma[i], x, clean)
        if i == last:
            return clean
        kept = (1 - eta**2) ** 0.5 * _column(sigma[i + 1] / sigma[i], x) * (x - clean)
        fresh = eta * _column(sigma[i + 1], x)
        first = fresh * complex_noise_like(x, generators)
        if given is None:
            x = clean + kept + first
            continue
        delta = (given.sigma_y / (eta * sigma[i + 1])) ** 2
        # eta σ √δ = σ_y
        second = _column(given.sigma_y, given.y) * complex_noise_like(given.y, generators)
        third = fresh * complex_noise_like(x, generators)
        x = kept + given.near(clean + third, delta, second, given.A.normal(first))
    return x


@torch.no_grad()
def sample_dds(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
    *,
    given: Measurement | None = None,
    gamma: float = 5.0,
    cg_iterations: int = 5,
    eta: float = 0.85,
) -> Tensor:
    """Return x₀ by decomposed diffusion sampling: some steps of conjugate gradients from D, then DDIM's.

    x̂₀ ≈ argmin gamma ‖y − A x‖² + ‖x − D‖² by `cg_iterations` steps (exact where `A.solve` has a closed
    form), x_{t−1} = x̂₀ + σ_{t−1} (√(1 − eta²) ε̂ + eta ε), ε̂ = (x_t − D)/σ_t: Chung, Lee and Ye,
    Decomposed diffusion sampler for accelerating large-scale inverse problems (ICLR 2024), Alg. 1, eq. 14.
    1 evaluation a step.
    """
    sigma = _levels(x, sigmas, generators)
    last = len(sigma) - 2
    for i in range(last + 1):
        denoised = clean = denoiser(x, sigma[i])
        if callback is not None:
            callback(i, sigma[i], x, denoised)
        if given is not None:
            right = denoised + gamma * given.A.adjoint(given.y)
            clean = given.A.solve(right, gamma, 1.0, denoised, tolerance=1e-6, max_iterations=cg_iterations)
        if i == last:
            return clean
        noise = (1 - eta**2) ** 0.5 * (x - denoised) / _column(sigma[i], x)
        noise = noise + eta * complex_noise_like(x, generators)
        x = clean + _column(sigma[i + 1], x) * noise
    return x


@torch.no_grad()
def sample_daps(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    generators: Sequence[torch.Generator],
    callback: Callback | None = None,
    *,
    given: Measurement | None = None,
    time: float = 0.01,
    ode_steps: int = 5,
    ode_end: float = 0.01,
) -> Tensor:
    """Return x₀ by decoupled annealing: the ODE to x̂₀, a draw of x₀ around it, noise of the next level.

    x̂₀ by `ode_steps` Euler steps from σ_t to `ode_end` and 0; x₀ from N(x̂₀, σ_t²) times p(y | x₀); x_{t−1} =
    x₀ + σ_{t−1} ε: Zhang et al., Improving diffusion inverse problem solving with decoupled noise annealing
    (CVPR 2025), Alg. 1, eq. 6 and 7.  `ode_steps` evaluations a step.  The paper draws x₀ by a Langevin chain
    from x̂₀, N steps of size h.  Its limit is a Gaussian here, drawn exactly where y decides (Papandreou and
    Yuille, NIPS 2010):
        (AᴴA/σ_y² + 1/σ_t²) x₀ = Aᴴ(y + σ_y ε₂)/σ_y² + (x̂₀ + r ε₁)/σ_t²;
    elsewhere the chain ends long before its limit, at r² = σ_t² (1 − exp(−2 N h/σ_t²)), which is kept.  time:
    N h, falling evenly to a hundredth of it, as the paper's step size does.
    """
    sigma = _levels(x, sigmas, generators)
    last = len(sigma) - 2
    for i in range(last + 1):
        seen = None if callback is None else _first(callback, i)
        steps = ode_steps if bool((sigma[i] > 2 * ode_end).all()) else 1
        path = (
            karras(steps, ode_end, sigma[i].double()) if steps > 1 else torch.stack([sigma[i], 0 * sigma[i]])
        )
        clean = sample_ddim(denoiser, x, path, generators, seen)
        left = time * (1 - 0.99 * i / max(1, last))
        r = sigma[i] * (-torch.expm1(-2 * left / sigma[i] ** 2)).sqrt()
        if i < last:
            clean = clean + _column(r, x) * complex_noise_like(x, generators)
        if given is not None:
            noise = _column(given.sigma_y, given.y) * complex_noise_like(given.y, generators)
            clean = given.near(clean, (given.sigma_y / sigma[i]) ** 2, noise if i < last else None)
        if i == last:
            return clean
        x = clean + _column(sigma[i + 1], x) * complex_noise_like(x, generators)
    return x


def _first(callback: Callback, step: int) -> Callback:
    """Return what tells of the first evaluation of an ODE as that of `step`."""

    def told(n: int, sigma_t: Tensor, x_t: Tensor, denoised: Tensor) -> None:
        if n == 0:
            callback(step, sigma_t, x_t, denoised)

    return told
