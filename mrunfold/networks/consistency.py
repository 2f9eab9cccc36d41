"""The solves of an evaluation of the unrolled network: data consistency with what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrunfold.operators import LinearOperator
from mrunfold.solvers import Solution, Start, inner, two_shifts

__all__ = ["Given"]

# The first solve ends where its residual is this share of the noise in Aᴴy: a quiet scan needs more steps.
START_RESIDUAL = 0.1
START_TOLERANCE = (1e-5, 0.1)  # bounds of what that is, relative to the right-hand side
# With little noise x_k explains y within any useful tolerance: z_k must still be heard.
BLOCK_TOLERANCE = 1e-5
# Above this noise of y over that of z and x_t, what y's noise has in common with x₀'s no longer matters.
COMMON_NOISE = 0.9


@dataclass(frozen=True)
class Given:
    """What the data-consistency blocks of one evaluation share: A, Aᴴy, its noise, x_t (or None), σ_t.

    noise: √E‖Aᴴn‖² = σ_y √tr(AᴴA) (*batch,); sigma_t: (*batch,); fraction: tr(AᴴA)/dim (*batch,).
    """

    A: LinearOperator
    back: Tensor
    noise: Tensor
    x_t: Tensor | None
    sigma_t: Tensor
    fraction: Tensor

    @property
    def nothing(self) -> Tensor:
        """Items of which nothing was measured, bool (*batch,)."""
        return self.fraction == 0

    def solve(
        self,
        noise: Tensor,
        rho: Tensor,
        z: Tensor | None,
        start: Tensor | Start | None,
        steps: int,
        common: bool = False,
    ) -> Solution:
        """Return argmin_x ‖y − A x‖²/noise² + ‖x − x_t‖²/σ_t² + ρ‖x − z‖², z = 0 for None, from `start`.

        Without a start it is solved to a share of the noise in Aᴴy, else to BLOCK_TOLERANCE.
        common: the noise of y is what is not in A x₀, see PosteriorDenoiser.
        """
        item = (...,) + (None,) * self.A.domain.ndim
        # Everything times noise²: the system is then AᴴA + shift with a shift of moderate size.
        variance = noise**2
        state, pull = variance / self.sigma_t**2, variance * rho
        known = torch.zeros_like(self.back) if z is None else pull[item] * z
        known = known if self.x_t is None else known + state[item] * self.x_t
        # Autocast is for the priors only: bfloat16 has three digits, and the system needs more.
        with torch.autocast(self.back.device.type, enabled=False):
            weight, right = torch.ones_like(variance), self.back + known
            if common:
                share = (state + pull).clamp(max=COMMON_NOISE)
                weight = 1 - share
                right = right - (share / (state + pull))[item] * self.A.normal(known)
            tolerance = (
                self._tolerance(right) if start is None else torch.full_like(variance, BLOCK_TOLERANCE)
            )
            # A few steps do not reach the solution: in training the steps themselves are differentiated.
            return self.A.solve_with_statistics(
                right,
                weight,
                state + pull,
                start,
                tolerance=tolerance,
                max_iterations=steps,
                gradient="unrolled" if torch.is_grad_enabled() else "implicit",
            )

    def _tolerance(self, right: Tensor) -> Tensor:
        """Return where the first solve ends: START_RESIDUAL of the noise in Aᴴy, relative to `right`."""
        norm = inner(right, right, self.A.domain.ndim).sqrt()
        tolerance = START_RESIDUAL * self.noise / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        return tolerance.clamp(*START_TOLERANCE)

    def two(self, noise: Tensor, rho: Tensor, further: Tensor, steps: int) -> tuple[Solution, Tensor]:
        """Return the first solve's solution (σ_t = ∞), and beside it that of AᴴA + further (*batch,)."""
        shift, A = noise**2 * rho, self.A
        further = torch.maximum(further.expand(shift.shape), shift)
        tolerance = self._tolerance(self.back)
        with torch.autocast(self.back.device.type, enabled=False):
            if type(A)._solve is LinearOperator._solve:
                return two_shifts(A.normal, self.back, shift, further, A.domain.ndim, tolerance, steps)
            how: dict[str, Any] = {"tolerance": tolerance, "max_iterations": steps}
            found = A.solve_with_statistics(self.back, 1.0, shift, **how)
            return found, A.solve(self.back, 1.0, further, **how)
