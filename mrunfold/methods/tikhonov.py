"""Tikhonov: regularised least squares about a mean colour, in closed form where the operator has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mrunfold.methods.base import Method, Progress, Seeds, check_number, mean_image
from mrunfold.problem import Problem

__all__ = ["Tikhonov"]


@dataclass(frozen=True)
class Tikhonov(Method):
    """x = μ + (AᴴA + lamda σ_y² I)⁻¹ Aᴴ(y − Aμ), μ the flat image nearest to y.

    lamda: 1/variance of the pixels about μ, ≥ 0; 16 is a standard deviation of ¼.  The Wiener filter of a
    white image of that variance.  Takes any operator; closed-form where its `solve` is.
    """

    lamda: float = 16.0
    name: ClassVar[str] = "tikhonov"

    def __post_init__(self) -> None:
        check_number(self, "lamda", low=0.0)

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Tensor:
        A, y = problem.A, problem.y
        middle = mean_image(A, y)
        shift = (self.lamda * problem.sigma_y.to(y.real.dtype) ** 2).clamp_min(1e-8)
        return middle + A.solve(A.adjoint(y - A(middle)), 1.0, shift)
