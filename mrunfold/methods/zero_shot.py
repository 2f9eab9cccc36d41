"""Posterior samplers of other groups that need no training for A: DPS, DiffPIR, DDNM, DAPS and DDS.

All draw with the same prior as the learned method: the network that ships without a measurement (A = 0), or,
for photographs, the prior that ships.  Defaults are the published settings.  Papers have photographs from −1
to 1, and complex images as two channels of noise σ each; levels here are of images from 0 to 1 and of both
parts together, so the paper's σ is 0.5 and √2 of ours.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mrunfold.diffusion import (
    Measurement,
    karras,
    sample_daps,
    sample_ddnm,
    sample_dds,
    sample_diffpir,
    sample_dps,
    variance_preserving,
    warm_start,
)
from mrunfold.errors import InputError
from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number, mean_image
from mrunfold.methods.prior_denoiser import prior_denoiser
from mrunfold.problem import Problem

__all__ = ["Daps", "Ddnm", "Dds", "DiffPir", "Dps", "ZeroShot"]

MOST = 1000  # draws, and steps of one
GUESS = 0.01  # weight of the flat image in the first guess


@dataclass(frozen=True)
class ZeroShot(Method):
    """Draws of p(x₀ | y) by a sampler of `diffusion.zero_shot` with a prior that knows no measurement.

    prior: weights that ship, a .safetensors file of a network or of a prior, or a prior of another package;
    None for those that ship; steps: noise levels of a draw; sigma_start: the highest of them, of images from
    0 to 1, None for the paper's; samples: draws, whose mean is the result, 0 for one alone; from 2 on with a
    standard deviation.  Takes any operator; one batch axis at most.
    """

    sampler: ClassVar[Callable[..., Tensor]]
    prior: str | None = None
    steps: int = 100
    sigma_start: float | None = None
    samples: int = 0
    noise: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "steps", low=1, integer=True)
        check_number(self, "noise", low=1e-3)
        check_number(self, "samples", low=0, integer=True)
        if max(self.steps, self.samples) > MOST:
            raise InputError(
                f"{self.name}: at most {MOST} steps and samples, got {self.steps} and {self.samples}"
            )
        if self.sigma_start is not None:
            check_number(self, "sigma_start", low=0.05)

    def schedule(self, unit: float) -> Tensor:
        """Return the noise levels (n + 1,), the last one 0; unit: σ = 1 of the paper."""
        most = None if self.sigma_start is None else self.sigma_start / unit
        return unit * variance_preserving(self.steps, sigma_max=most)

    @abstractmethod
    def options(self, unit: float) -> dict[str, Any]:
        """Return what the sampler takes beside what all take; unit: σ = 1 of the paper."""

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        A, batched = problem.A, problem.y.ndim > problem.A.range.ndim
        y = problem.y if batched else problem.y[None]
        if y.ndim != A.range.ndim + 1:
            raise InputError(f"{self.name} takes one batch axis at most, got y {tuple(problem.y.shape)}")
        if len(seeds.items) != len(y):
            raise InputError(f"{len(y)} items need as many seeds, got {len(seeds.items)}")
        sigma_y = self.noise * problem.sigma_y.to(y.real.dtype).reshape(-1).expand(len(y))
        given = Measurement(y, A, sigma_y)
        prior, facts = prior_denoiser(self.prior, A.domain, y.device)
        asked = 0

        def denoiser(x_t: Tensor, sigma_t: Tensor) -> Tensor:
            nonlocal asked
            asked += 1
            clean = prior(x_t, sigma_t)
            # As the papers' programs do; a complex image may be anywhere.
            return clean if clean.is_complex() else clean.clamp(0, 1)

        sigmas, options = self.schedule(unit_of(y)), self.options(unit_of(y))
        # Where the start is far above the image it says nothing; below, an image must be in it.
        guess = given.near(mean_image(A, y), torch.full_like(given.sigma_y, GUESS))
        generators = seeds.generators()
        count = max(1, self.samples)
        draws = torch.empty((count, *guess.shape), dtype=guess.dtype, device=y.device)
        levels = len(sigmas) - 1
        for n in range(count):

            def told(step: int, *_: Tensor, n: int = n) -> None:
                progress((n + step / levels) / count)

            x = warm_start(guess, float(sigmas[0]), generators)
            draws[n] = self.sampler(denoiser, x, sigmas, generators, told, given=given, **options)
        if not bool(torch.isfinite(draws).all()):
            raise InputError(f"{self.name} diverged; take more steps or a smaller weight of the data")
        draws = draws if batched else draws[:, 0]
        mean = draws.mean(dim=0)
        if count == 1:
            return Result(mean, evaluations=asked, record=dict(facts))
        std = torch.sqrt((draws - mean).abs().square().sum(dim=0) / (self.samples - 1))
        return Result(mean, std, draws, asked, record=dict(facts))


def unit_of(y: Tensor) -> float:
    """Return σ = 1 of the papers in levels of ours: √2 for complex images, ½ for photographs."""
    return 2**0.5 if y.is_complex() else 0.5


@dataclass(frozen=True)
class Dps(ZeroShot):
    """Diffusion posterior sampling: `sample_dps`, Chung et al. (ICLR 2023), Alg. 1.

    weight: its ζ'.  Defaults: 1000 steps of DDPM and ζ' = 0.3, as in the authors' configuration of deblurring
    and upscaling.
    """

    name: ClassVar[str] = "dps"
    sampler: ClassVar[Callable[..., Tensor]] = staticmethod(sample_dps)
    steps: int = 1000
    weight: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "weight", low=0)

    def options(self, unit: float) -> dict[str, Any]:
        # A step is in units of the paper's image.
        return {"weight": self.weight * min(unit, 1.0), "unit": unit}


@dataclass(frozen=True)
class DiffPir(ZeroShot):
    """DiffPIR: `sample_diffpir`, Zhu et al. (CVPR workshops 2023), Alg. 1.

    lamda, zeta: weight of the prior and share of new noise.  Defaults: 100 steps, denser at the end, λ = 1
    and ζ = 0.1, as in the authors' configuration of deblurring.  λ is for σ_t of the paper's units and σ_y of
    ours, as in the authors' program.
    """

    name: ClassVar[str] = "diffpir"
    sampler: ClassVar[Callable[..., Tensor]] = staticmethod(sample_diffpir)
    lamda: float = 1.0
    zeta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lamda", low=1e-6)
        _check_share(self, "zeta")

    def schedule(self, unit: float) -> Tensor:
        most = None if self.sigma_start is None else self.sigma_start / unit
        return unit * variance_preserving(self.steps, quadratic=True, sigma_max=most)

    def options(self, unit: float) -> dict[str, Any]:
        return {"lamda": self.lamda * min(unit, 1.0) ** 2, "zeta": self.zeta}


@dataclass(frozen=True)
class Ddnm(ZeroShot):
    """DDNM+: `sample_ddnm`, Wang, Yu and Zhang (ICLR 2023), eq. 17 to 19.

    eta: share of new noise.  Defaults: 100 steps and η = 0.85, as in the authors' experiments.
    """

    name: ClassVar[str] = "ddnm"
    sampler: ClassVar[Callable[..., Tensor]] = staticmethod(sample_ddnm)
    eta: float = 0.85

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "eta", low=1e-3)
        _check_share(self, "eta")

    def options(self, unit: float) -> dict[str, Any]:
        return {"eta": self.eta}


@dataclass(frozen=True)
class Dds(ZeroShot):
    """Decomposed diffusion sampling: `sample_dds`, Chung, Lee and Ye (ICLR 2024), Alg. 1.

    gamma: weight of the data; cg_iterations, eta: as there.  Defaults: 50 steps, γ = 5, 5 steps of conjugate
    gradients and η = 0.85, as in the authors' program for multicoil MRI with noise.
    """

    name: ClassVar[str] = "dds"
    sampler: ClassVar[Callable[..., Tensor]] = staticmethod(sample_dds)
    steps: int = 50
    gamma: float = 5.0
    cg_iterations: int = 5
    eta: float = 0.85

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "gamma", low=1e-6)
        check_number(self, "cg_iterations", low=1, integer=True)
        _check_share(self, "eta")

    def options(self, unit: float) -> dict[str, Any]:
        return {"gamma": self.gamma, "cg_iterations": self.cg_iterations, "eta": self.eta}


@dataclass(frozen=True)
class Daps(ZeroShot):
    """Decoupled annealing: `sample_daps`, Zhang et al. (CVPR 2025), Alg. 1.

    time: of the Langevin chain, its steps times their size, in the paper's units; ode_steps: evaluations of a
    step.  Defaults: 200 steps from σ = 100 to 0.1, ρ = 7, 5 evaluations each, 100 Langevin steps of 1e-4, as
    in the authors' configuration.
    """

    name: ClassVar[str] = "daps"
    sampler: ClassVar[Callable[..., Tensor]] = staticmethod(sample_daps)
    steps: int = 200
    time: float = 0.01
    ode_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "time", low=0)
        check_number(self, "ode_steps", low=1, integer=True)

    def schedule(self, unit: float) -> Tensor:
        most = 100 * unit if self.sigma_start is None else self.sigma_start
        return karras(self.steps, min(0.1 * unit, most / 2), most)

    def options(self, unit: float) -> dict[str, Any]:
        return {"time": self.time * unit**2, "ode_steps": self.ode_steps, "ode_end": 0.01 * unit}


def _check_share(method: ZeroShot, field: str) -> None:
    """Raise InputError unless a parameter is a number from 0 to 1."""
    check_number(method, field, low=0)
    if getattr(method, field) > 1:
        raise InputError(f"{method.name}: {field} must be a number from 0 to 1, got {getattr(method, field)}")
