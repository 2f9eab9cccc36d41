"""Diff-Unfolding: the posterior denoiser D(x_t; y, A, σ_y, σ_t) = E[x₀ | x_t, y] as an unrolled network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrunfold.errors import InputError
from mrunfold.networks.consistency import Given
from mrunfold.networks.prior import Prior, build_prior
from mrunfold.operators import LinearOperator
from mrunfold.problem import Problem
from mrunfold.protocols import NetworkSpec
from mrunfold.solvers import Solution, inner

__all__ = ["PASS_END", "SIGMA_OF_MEAN", "Levels", "Path", "PosteriorDenoiser", "root_mean_square"]

TAU = (0.003, 1.0)
START = 0.5  # error of the first guess, z = 0, for images of height about 1
DOUBT = 30.0
PULL = 30.0
SIGMA_T_MIN = 1e-6
SIGMA_OF_MEAN = 0.1  # σ_t at which a mean is fed back: above its own error where k-space is sparse
PASS_END = 0.004  # of an image's height: smaller changes gained held-back subjects 0.2 dB at most


class Levels(nn.Module):
    """The inputs of each block: noise level τ_k, precision ρ_k of z_k, and m_k, by which σ_y is multiplied.

    A two-layer network computes them from (σ_y, σ_t, fraction, samples, misfit).  fraction: tr(AᴴA)/dim, the
    measured share of the unknown; samples: numbers in y per unknown, which tells many coils from dense
    sampling; misfit: ‖y − A x₀‖² at the start x₀ over its expectation for white noise of σ_y, well above 1 if
    A itself is wrong, as with coil maps from few calibration lines.  Every level stays between fixed bounds:
        τ_k² = 1 / (1/τ_k∞² + 1/σ_t²)        the state x_t limits the remaining error
        ρ_k  = 1/s_k² + p_k/(σ_t² + τ_min²)   s_k: error of z_k without a state; p_k: from 1 to 30
        m_k  from 1 to 30                     block k assumes noise of m_k σ_y in y
    z_k, made from x_t, is more accurate than x_t; p_k is this gain.  Because of τ_min, D → x_t as σ_t → 0.
    If nothing was measured, the start x₀ is x_t, and τ_1 = σ_t.
    """

    def __init__(self, blocks: int, hidden: int = 32) -> None:
        super().__init__()
        self.blocks = blocks
        last = nn.Linear(hidden, 4 * blocks)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(5, hidden), nn.ReLU(), last)
        # Numbers, not tensors: on the meta device, where weights are loaded, these import PyTorch's compiler.
        steps = [k / max(blocks - 1, 1) for k in range(blocks)]
        levels = [0.2 * (0.02 / 0.2) ** k for k in steps] + [0.12 * (0.03 / 0.12) ** k for k in steps]
        shares = [math.log(level / TAU[0]) / math.log(TAU[1] / TAU[0]) for level in levels]
        base = [math.log(share / (1 - share)) for share in shares]
        base += [-4.0] * blocks + [-0.4] * blocks  # m = 1.06, p = 4
        self.register_buffer("base", torch.tensor(base))

    def forward(
        self, sigma_y: Tensor, sigma_t: Tensor, fraction: Tensor, samples: Tensor, misfit: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (τ, ρ, m), each (*batch, K), for σ_y, σ_t, fraction, samples, misfit (*batch,)."""
        features = torch.stack(
            [
                sigma_y.clamp(1e-4, 1.0).log10() + 2.0,
                torch.log1p(1.0 / sigma_t) / 2.0,
                fraction.clamp(1e-3, 1.0).log() + 1.5,
                misfit.clamp(0.1, 100.0).log() / 2.0,
                samples.clamp(1e-3, 100.0).log() / 2.0,
            ],
            dim=-1,
        )
        tau, s, m, p = torch.sigmoid(self.base + self.mlp(features)).split(self.blocks, dim=-1)
        ratio = TAU[1] / TAU[0]
        state = sigma_t[..., None] ** 2
        tau = ((TAU[0] * ratio**tau) ** -2 + 1 / state) ** -0.5
        blind = ((fraction == 0) & sigma_t.isfinite())[..., None]
        tau = torch.cat([torch.where(blind, sigma_t[..., None], tau[..., :1]), tau[..., 1:]], dim=-1)
        return tau, (TAU[0] * ratio**s) ** -2 + PULL**p / (state + TAU[0] ** 2), DOUBT**m


def root_mean_square(x: Tensor, ndim: int) -> Tensor:
    """Return the root mean square over pixels of x (*batch, channel, …, y, x), channels summed, per item."""
    return (inner(x, x, ndim) / math.prod(x.shape[-2:])).sqrt()


def _misfit(residual: Tensor, samples: Tensor, sigma_y: Tensor) -> Tensor:
    """Return ‖y − A x‖² / (n σ_y²) per item."""
    return inner(residual, residual, residual.ndim - sigma_y.ndim) / (samples * sigma_y**2)


@dataclass(frozen=True)
class Path:
    """Intermediate results on the way to the mean: images (*batch, *A.domain.shape), numbers (*batch,).

    start, first: x_0 of the first evaluation and its answer; before, prior, last: x_{K−1} and z_{K−1} of the
    last one and its answer, to which measured samples were not put back;
    fraction, samples, misfit: what `Levels` is told at the first; rho: precision of z_{K−1}; evaluations;
    back: Aᴴy; seen: AᴴA of the last answer, None where nobody asked for it.
    """

    start: Tensor
    first: Tensor
    before: Tensor
    prior: Tensor
    last: Tensor
    fraction: Tensor
    samples: Tensor
    misfit: Tensor
    rho: Tensor
    evaluations: Tensor
    back: Tensor
    seen: Tensor | None = None

    def going_on(self, further: Path, going: Tensor) -> Path:
        """Return the path of the items that are `going` (*batch,) with the evaluation `further`."""
        item = going[(...,) + (None,) * (self.before.ndim - going.ndim)]
        return replace(
            self,
            before=torch.where(item, further.before, self.before),
            prior=torch.where(item, further.prior, self.prior),
            last=torch.where(item, further.last, self.last),
            rho=torch.where(going, further.rho, self.rho),
            evaluations=self.evaluations + going,
        )


class PosteriorDenoiser(nn.Module):
    """K blocks of learned prior and exact data consistency, by half-quadratic splitting.

        z_k     = R_θ(x_k, τ_k)
        x_{k+1} = argmin_x ‖y − A x‖²/(m_k σ_y)² + ‖x − x_t‖²/σ_t² + ρ_k ‖x − z_k‖²
                = (AᴴA/(m_k σ_y)² + (1/σ_t² + ρ_k) I)⁻¹ (Aᴴy/(m_k σ_y)² + x_t/σ_t² + ρ_k z_k)

    x_0 is the same solve with z = 0, ρ = 4 and m = 1; if nothing was measured, it is x_t.  Any LinearOperator
    works.  Its `solve` uses a closed form if there is one, else conjugate gradients: for x_0 until the
    residual is a tenth of the noise in Aᴴy, σ_y √tr(AᴴA), in at most `start_iterations` steps; in the blocks,
    which start near their solution, `cg_iterations` steps.  σ_t = ∞ gives the posterior mean E[x₀ | y].
    x0_has_noise: x₀ is the image of the full measurement with its noise, as the target of a scan is.  Then
    only the noise of y that is not in A x₀ counts, n ~ CN(0, σ_y²(I − AAᴴ)), ‖A‖ ≤ 1.  The last block, which
    gives the final image, solves with this covariance.  With δ = (m σ_y)²(1/σ_t² + ρ), times (I − AᴴA):
        (AᴴA + δ (I − AᴴA)) x = Aᴴy + δ (I − AᴴA) u,    u = (x_t/σ_t² + ρ z)/(1/σ_t² + ρ).
    With full sampling AᴴA = I, so x = Aᴴy for any z.
    prior: returns the prior of a block, a module (x, τ) → x like networks.prior.Prior; a class or any
    callable; passes: the most evaluations of the mean, see `mean_and_evaluations`; sigma_y_min: lower σ_y are
    raised to this value; shared: one prior for all blocks, or one each; checkpointing: compute activations
    again in the backward pass.
    Idea: Wang, Shoushtari and Kamilov, arXiv:2505.11393 (2025); the form of the blocks is this project's own
    (docs/concepts/diff-unfolding.md).
    """

    def __init__(
        self,
        blocks: int = 6,
        shared: bool = False,
        cg_iterations: int = 4,
        start_iterations: int = 8,
        prior: Callable[[], nn.Module] = Prior,
        checkpointing: bool = False,
        x0_has_noise: bool = False,
        passes: int = 1,
        sigma_y_min: float = 0.0,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self.blocks, self.shared, self.cg_iterations = blocks, shared, cg_iterations
        self.start_iterations, self.checkpointing = start_iterations, checkpointing
        self.x0_has_noise, self.passes, self.sigma_y_min = x0_has_noise, passes, sigma_y_min
        self.spread = spread
        self.priors = nn.ModuleList(prior() for _ in range(1 if shared else blocks))
        self.levels = Levels(blocks)

    @classmethod
    def from_spec(cls, spec: NetworkSpec, checkpointing: bool = False) -> PosteriorDenoiser:
        """Build the untrained network that a protocol describes."""
        iterations = spec.cg_iterations, spec.start_iterations
        prior = partial(build_prior, spec.prior)
        return cls(
            *(spec.blocks, spec.shared, *iterations, prior, checkpointing, spec.x0_has_noise),
            passes=1 if spec.passes is None else spec.passes,
            sigma_y_min=spec.sigma_y_min or 0.0,
            spread=spec.spread or 1.0,
        )

    def load_prior(self, state: dict[str, Tensor]) -> None:
        """Start every block from one pretrained prior."""
        for prior in self.priors:
            prior.load_state_dict(state)

    def prior(self, k: int) -> nn.Module:
        """Return the prior of block k."""
        return self.priors[0 if self.shared else k]

    def forward(
        self, x_t: Tensor | None, sigma_t: Tensor, y: Tensor, A: LinearOperator, sigma_y: Tensor
    ) -> Tensor:
        """Return E[x₀ | x_t, y]: (*batch, *A.domain.shape).

        x_t: diffusion state, as the result, or None with σ_t = ∞; sigma_t: (*batch,), > 0 or ∞; y: (*batch,
        *A.range.shape), 0 where nothing was measured; sigma_y: (*batch,) > 0.  Units of
        mrunfold.problem.rescale: images of height about 1.
        """
        return self.with_path(x_t, sigma_t, y, A, sigma_y)[0]

    def with_path(
        self, x_t: Tensor | None, sigma_t: Tensor, y: Tensor, A: LinearOperator, sigma_y: Tensor,
        back: Tensor | None = None,
    ) -> tuple[Tensor, Path]:  # fmt: skip
        """Return the result of `forward` and its intermediate results; back: Aᴴy, if it is known."""
        given, first, sigma_y = self._begun(x_t, sigma_t, y, A, sigma_y, back)
        found = given.solve(sigma_y, first, None, None, self.start_iterations)
        return self._blocks(given, found, y, sigma_y)

    def beside_least_squares(
        self, y: Tensor, A: LinearOperator, sigma_y: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return E[x₀ | y] of one evaluation and (AᴴA + shift·I)⁻¹ Aᴴy, both (*batch, *A.domain.shape).

        shift: (*batch,), at least START⁻² σ_y², else taken as that.  The second costs nothing: it takes the
        steps of the first solve, and ends with them (`solvers.two_shifts`).  No gradients.
        """
        given, first, sigma_y = self._begun(None, torch.full_like(sigma_y, torch.inf), y, A, sigma_y)
        found, least_squares = given.two(sigma_y, first, shift, self.start_iterations)
        x = self._blocks(given, found, y, sigma_y)[0]
        return x + (given.back - A.normal(x)) if self.x0_has_noise else x, least_squares

    def _begun(
        self, x_t: Tensor | None, sigma_t: Tensor, y: Tensor, A: LinearOperator, sigma_y: Tensor,
        back: Tensor | None = None,
    ) -> tuple[Given, Tensor, Tensor]:  # fmt: skip
        """Return what all solves share, ρ of the first of them, and σ_y as it is taken, of each item."""
        batch = A.range.batch_of(y)
        sigma_t = sigma_t.expand(batch).clamp_min(SIGMA_T_MIN)
        # A level told far too low, as under a filter of k-space, would have noise amplified.
        sigma_y = sigma_y.expand(batch).clamp_min(self.sigma_y_min)
        if x_t is None and not bool(sigma_t.isinf().all()):
            raise InputError("a finite sigma_t needs a diffusion state x_t; give both, or sigma_t = inf")
        fraction = A.measured_fraction().to(sigma_y).expand(batch)
        back = A.adjoint(y) if back is None else back
        given = Given(A, back, A.adjoint_noise(sigma_y, fraction), x_t, sigma_t, fraction)
        # Of a state alone nothing may be lost: at σ_t = 80 its long waves still tell where the object is.
        alone = given.nothing & sigma_t.isfinite()
        return given, torch.full_like(sigma_y, START**-2).masked_fill(alone, 0.0), sigma_y

    def _blocks(self, given: Given, found: Solution, y: Tensor, sigma_y: Tensor) -> tuple[Tensor, Path]:
        """Run all blocks from the first solve's solution; return the image and the intermediate results."""
        A = given.A
        with torch.autocast(y.device.type, enabled=False):
            count = A.samples(y).clamp_min(1)
            misfit = _misfit(y - A(found.x), count, sigma_y).masked_fill(given.nothing, 0.0)
            samples = (count.to(sigma_y) / math.prod(A.domain.shape)).masked_fill(given.nothing, 0.0)
            tau, rho, doubt = self.levels(sigma_y, given.sigma_t, given.fraction, samples, misfit)

        start, before, last = found.x, found.x, [found.x]

        def block(k: int, x_k: Solution) -> Solution:
            z = self.prior(k)(x_k.x, tau[..., k])
            last[0] = z.detach()
            # The solve before knows AᴴA x_k: this one begins without a normal operator.
            common = self.x0_has_noise and k == self.blocks - 1
            noise = doubt[..., k] * sigma_y
            return given.solve(noise, rho[..., k], z, x_k.start, self.cg_iterations, common)

        for k in range(self.blocks):
            before = found.x.detach()
            if self.checkpointing and torch.is_grad_enabled():
                found = checkpoint(block, k, found, use_reentrant=False)
            else:
                found = block(k, found)
        answer = found.x.detach()
        seen = torch.ones_like(sigma_y, dtype=torch.int64)
        numbers = given.fraction, samples, misfit, rho[..., -1].detach()
        path = Path(start.detach(), answer, before, last[0], answer, *numbers, seen, given.back.detach())
        return found.x, path

    def given(self, problem: Problem) -> Callable[[Tensor | None, Tensor], Tensor]:
        """Return the denoiser (x_t, σ_t) → E[x₀ | x_t, y] of one problem, for any sampler."""

        def denoiser(x_t: Tensor | None, sigma_t: Tensor) -> Tensor:
            return self(x_t, sigma_t, problem.y, problem.A, problem.sigma_y)

        return denoiser

    def mean(self, problem: Problem, passes: int | None = None) -> Tensor:
        """Return E[x₀ | y] of a problem, as `mean_of`."""
        return self.mean_of(problem.y, problem.A, problem.sigma_y, passes)

    def mean_of(self, y: Tensor, A: LinearOperator, sigma_y: Tensor, passes: int | None = None) -> Tensor:
        """Return E[x₀ | y] (*batch, *A.domain.shape), see `mean_and_evaluations`."""
        return self.mean_and_evaluations(y, A, sigma_y, passes)[0]

    def mean_and_evaluations(
        self, y: Tensor, A: LinearOperator, sigma_y: Tensor, passes: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return E[x₀ | y] and how many network evaluations each item took (*batch,).

        The K blocks are no fixed point: where k-space is sparse, K more of them go on.  The first evaluation
        has σ_t = ∞; the state x_t of each further one is the mean before, at σ_t = `SIGMA_OF_MEAN`; a part of
        training has such states (`fed_back`).  passes: exactly so many evaluations; None: an item ends where
        one changed its mean by less than `PASS_END`, root mean square over pixels, or after `self.passes`.
        The measured samples are put back at the end (`with_samples`).
        """
        x, path = self.mean_and_path(y, A, sigma_y, passes)
        return x, path.evaluations

    def mean_and_path(
        self, y: Tensor, A: LinearOperator, sigma_y: Tensor, passes: int | None = None
    ) -> tuple[Tensor, Path]:
        """Return E[x₀ | y] and its intermediate results, see `mean_and_evaluations`."""
        x, path = self._evaluated(y, A, sigma_y, passes)
        if not self.x0_has_noise:
            return x, path
        # As `with_samples`, and AᴴA x is what the standard deviation is predicted from.
        seen = A.normal(x)
        return x + (path.back - seen), replace(path, seen=seen.detach())

    def state_of_mean(self, y: Tensor, A: LinearOperator, sigma_y: Tensor, passes: int) -> Tensor:
        """Return the state x_t, at `SIGMA_OF_MEAN`, that an evaluation after `passes` of the mean begins at.

        It is what the last of them gave, before the measured samples are put back.
        """
        return self._evaluated(y, A, sigma_y, passes)[0]

    def _evaluated(
        self, y: Tensor, A: LinearOperator, sigma_y: Tensor, passes: int | None
    ) -> tuple[Tensor, Path]:
        x, path = self.with_path(None, torch.full_like(sigma_y, torch.inf), y, A, sigma_y)
        going = torch.ones_like(path.evaluations, dtype=torch.bool)
        for _ in range((passes or self.passes) - 1):
            level = torch.full_like(sigma_y, SIGMA_OF_MEAN)
            further, more = self.with_path(x, level, y, A, sigma_y, path.back)
            moved, path = root_mean_square(further - x, A.domain.ndim), path.going_on(more, going)
            x = torch.where(going[(...,) + (None,) * A.domain.ndim], further, x)
            if passes is None:
                going = going & (moved > PASS_END)
                if not bool(going.any()):
                    break
        return x, path

    def with_samples(self, x: Tensor, y: Tensor, A: LinearOperator) -> Tensor:
        """Return the full measurement's image x + Aᴴ(y − A x), where x₀ is that; else x as it is.

        Of x₀ = Sᴴ Fᴴ (full k-space) the measured samples are known, with their noise: whatever levels and
        priors made of them, y is put back, and x stands for the samples that were not measured.
        """
        return x + A.adjoint(y - A(x)) if self.x0_has_noise else x

    def describe(self) -> dict[str, Any]:
        """Return what the run log says of the network."""
        count = sum(p.numel() for p in self.parameters())
        return {
            "blocks": self.blocks,
            "parameters": count,
            "cg_iterations": [self.start_iterations, self.cg_iterations],
        }
