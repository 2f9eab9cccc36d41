"""What every reconstruction method is: a callable from a Problem to a Result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mrunfold.problem import Problem

__all__ = ["Method", "Result", "Seeds"]


@dataclass(frozen=True)
class Seeds:
    """One seed per batch item, so that an item draws the same numbers whatever it is batched with."""

    items: tuple[int, ...] = (0,)

    def generators(self, device: torch.device | str = "cpu") -> list[torch.Generator]:
        """Return one generator per item on `device`."""
        return [torch.Generator(device=device).manual_seed(seed) for seed in self.items]


@dataclass(frozen=True)
class Result:
    """A reconstruction in the Problem's units (multiply by its scale for the file's).

    mean: (*batch, set, y, x); std: real, same shape, None if the method has no uncertainty; samples:
    (draw, *batch, set, y, x) or None; evaluations: network evaluations an item; seconds: wall time of the
    call; record: what the run log should say (parameters, iterations, residuals).
    """

    mean: Tensor
    std: Tensor | None = None
    samples: Tensor | None = None
    evaluations: int = 0
    seconds: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A frozen dataclass; its fields are the method's parameters, `name` what the command line calls it."""

    name: str

    def __call__(
        self, problem: Problem, seeds: Seeds = ..., progress: Callable[[float], None] | None = None
    ) -> Result: ...
