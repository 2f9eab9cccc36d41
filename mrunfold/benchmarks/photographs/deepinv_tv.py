"""deepinv's total variation, with the signature of our methods: a rival by other people's code."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.extras import require
from mrunfold.interop.deepinv import to_deepinv
from mrunfold.methods import Seeds
from mrunfold.methods.base import Progress, mean_image
from mrunfold.methods.tv_isotropic import IsotropicTotalVariation
from mrunfold.problem import Problem

__all__ = ["DeepinvTotalVariation", "installed"]

INSTALL = "pip install 'mrunfold[bench]'"


def installed() -> bool:
    """Return whether deepinv can be imported."""
    return importlib.util.find_spec("deepinv") is not None


@dataclass(frozen=True)
class DeepinvTotalVariation(IsotropicTotalVariation):
    """argmin_x ½‖y − Ax‖² + lamda Σ_pixels ‖(Gx)_pixel‖₂ by deepinv: its PDCP, L2, L12Prior and gradient.

    Its options are those of `tv_isotropic`, whose minimum it shares (the norm over both directions and all
    channels); the solver is not.  One photograph at a time; InputError for batches, and where deepinv is not
    installed.
    """

    name: ClassVar[str] = "deepinv_tv"

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Tensor:
        require("deepinv", what=self.name)
        if problem.y.ndim != 3 or problem.y.is_complex():
            raise InputError("deepinv_tv takes one real image (channel, y, x); leave batch axes out")
        from deepinv.models import TVDenoiser
        from deepinv.optim import L2, PDCP
        from deepinv.optim.prior import L12Prior

        channels = problem.A.domain.shape[0]

        def edges(x: Tensor) -> Tensor:  # the norm, quick over the last axis alone, is over both of these
            return TVDenoiser.nabla(x).movedim(1, -2).flatten(-2)  # (1, y, x, channel · direction)

        def edges_adjoint(g: Tensor) -> Tensor:
            return TVDenoiser.nabla_adjoint(g.unflatten(-1, (channels, 2)).movedim(-2, 1))

        x = mean_image(problem.A, problem.y)[None].contiguous()
        dual = torch.zeros_like(edges(x))
        prior = L12Prior(l2_axis=-1)
        step = 10.0  # ‖G‖² ≤ 8
        solver = PDCP(
            K=edges, K_adjoint=edges_adjoint, data_fidelity=L2(), prior=prior,
            lambda_reg=self.lamda, stepsize=step, stepsize_dual=1 / (8 * step), g_first=True,
            max_iter=self.max_iter, custom_init=lambda y, physics: {"est": (x, x, dual)},
        )  # fmt: skip
        found: Tensor = solver(problem.y[None], to_deepinv(problem.A, max_iter=20))[0]
        return found
