"""Zero filling: what was not sampled is taken to be zero."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from mrunfold.methods.base import Result, Seeds
from mrunfold.problem import Problem

__all__ = ["ZeroFilled"]


@dataclass(frozen=True)
class ZeroFilled:
    """x = Aᴴy: the coil images of the zero-filled k-space, combined with the maps; any operator."""

    name: ClassVar[str] = "zero_filled"

    @torch.no_grad()
    def __call__(
        self,
        problem: Problem,
        seeds: Seeds = Seeds(),  # noqa: B008 (frozen)
        progress: Callable[[float], None] | None = None,
    ) -> Result:
        start = time.perf_counter()
        mean = problem.A.adjoint(problem.y)
        if progress is not None:
            progress(1.0)
        record = {"method": self.name, "parameters": {}}
        return Result(mean, seconds=time.perf_counter() - start, record=record)
