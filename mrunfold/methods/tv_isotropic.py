"""Total variation of images under any operator: the channels of a pixel share one edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrunfold.methods.base import Method, Progress, Seeds, check_number, mean_image
from mrunfold.problem import Problem

__all__ = ["IsotropicTotalVariation", "divergence", "gradient"]


def gradient(x: Tensor) -> Tensor:
    """Return forward differences down and right, 0 at the last row and column: (2, *batch, channel, y, x)."""
    g = x.new_zeros(2, *x.shape)
    g[0][..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    g[1][..., :, :-1] = x[..., :, 1:] - x[..., :, :-1]
    return g


def divergence(g: Tensor) -> Tensor:
    """Return −Gᴴ g, (2, *batch, channel, y, x) → (*batch, channel, y, x)."""
    d = torch.zeros_like(g[0])
    down, right = g[0][..., :-1, :], g[1][..., :, :-1]
    d[..., :-1, :] += down
    d[..., 1:, :] -= down
    d[..., :, :-1] += right
    d[..., :, 1:] -= right
    return d


@dataclass(frozen=True)
class IsotropicTotalVariation(Method):
    """argmin_x ½‖y − Ax‖² + lamda Σ_pixels ‖(Gx)_pixel‖₂, the norm over both directions and all channels.

    lamda: ≥ 0, for images of height about 1; max_iter: steps of the primal-dual method of Chambolle and Pock,
    J. Math. Imaging Vis. 40 (2011), Alg. 1, whose data step is A's `solve`; the norm is that of Bresson
    and Chan, Inverse Probl. Imaging 2 (2008).  Takes any operator; quick where `solve` is closed-form.
    """

    lamda: float = 0.01
    max_iter: int = 150
    name: ClassVar[str] = "tv_isotropic"

    def __post_init__(self) -> None:
        check_number(self, "lamda", low=0.0)
        check_number(self, "max_iter", low=1, integer=True)

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Tensor:
        A, y = problem.A, problem.y
        back = A.adjoint(y)
        # ‖G‖² ≤ 8; a long primal step, since edges are worth tenths of the height and lamda hundredths.
        step = 10.0
        dual_step = 1 / (8 * step)
        x = mean_image(A, y)
        ahead, p = x, gradient(x) * 0
        for n in range(self.max_iter):
            p = p + dual_step * gradient(ahead)
            norm = p.abs().square().sum(dim=(0, -3), keepdim=True).sqrt()
            p = p / (norm / self.lamda).clamp_min(1.0) if self.lamda > 0 else p * 0
            right = x + step * divergence(p) + step * back
            new = A.solve(right, step, 1.0, x, tolerance=1e-4, max_iterations=20)
            ahead, x = 2 * new - x, new
            progress((n + 1) / self.max_iter)
        return x
