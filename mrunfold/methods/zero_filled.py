"""Zero filling: what was not sampled is taken to be zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mrunfold.methods.base import Method, Progress, Seeds
from mrunfold.problem import Problem

__all__ = ["ZeroFilled"]


@dataclass(frozen=True)
class ZeroFilled(Method):
    """x = Aᴴy: the coil images of the zero-filled k-space, combined with the maps; any operator."""

    name: ClassVar[str] = "zero_filled"

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Tensor:
        return problem.A.adjoint(problem.y)
