"""SENSE: regularised least squares by conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number
from mrunfold.problem import Problem
from mrunfold.solvers import conjugate_gradient

__all__ = ["LeastSquares"]

LAMDA = 50.0
MAP_ERROR = 0.003


@dataclass(frozen=True)
class LeastSquares(Method):
    """x = argmin ‖y − Ax‖²/σ_y² + lamda ‖x‖² = (AᴴA + lamda σ_y² I)⁻¹ Aᴴy, by conjugate gradients.

    lamda: Tikhonov weight ≥ 0, unitless: 1/lamda is the variance that pixels are expected to have before
    anything is measured, in an image whose bright tissue is near 1; lamda σ_y = 0 gives the least squares
    solution of least norm.  None, the default: 50, but lamda σ_y² at least 0.003, for maps are off by some
    per cent, and nearly noise-free data do not make them better.  tolerance: relative residual at which an
    item stops; max_iter: steps at most.
    Takes any operator.
    Pruessmann et al., Magn. Reson. Med. 46 (2001), with the prior of Lin et al., Magn. Reson. Med. 51 (2004).
    """

    lamda: float | None = None
    tolerance: float = 1e-4
    max_iter: int = 100
    name: ClassVar[str] = "sense"

    def __post_init__(self) -> None:
        if self.lamda is not None:
            check_number(self, "lamda", low=0.0)
        check_number(self, "tolerance", low=0.0)
        check_number(self, "max_iter", low=1, integer=True)

    def shift(self, sigma_y: Tensor) -> Tensor:
        """Return lamda σ_y² as it is used."""
        variance = sigma_y**2
        return (LAMDA * variance).clamp_min(MAP_ERROR) if self.lamda is None else self.lamda * variance

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        A = problem.A
        rhs = A.adjoint(problem.y)
        batch = A.domain.batch_of(rhs)
        shift = self.shift(problem.sigma_y.to(rhs.real.dtype)).expand(batch)
        steps = 0

        def normal(x: Tensor) -> Tensor:
            nonlocal steps
            steps += 1
            progress(min(1.0, steps / self.max_iter))
            return A.normal(x)

        solution = conjugate_gradient(
            normal, rhs, torch.ones_like(shift), shift, A.domain.ndim,
            tolerance=self.tolerance, max_iterations=self.max_iter,
        )  # fmt: skip
        record = {
            "iterations": solution.iterations.flatten().tolist(),
            "residual": solution.residual.flatten().tolist(),
        }
        return Result(solution.x, record=record)
