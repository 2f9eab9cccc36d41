"""What every reconstruction method is: a callable from a Problem to a Result."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators import LinearOperator
from mrunfold.problem import Problem

__all__ = ["Method", "Progress", "Result", "Seeds", "check_number", "mean_image"]


Progress = Callable[[float], None]


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
    (draw, *batch, set, y, x) or None; evaluations: network evaluations per item; seconds: wall time of the
    call; record: what the run log should say (parameters, iterations, residuals); predicted_sd: standard
    deviation of the magnitude, of sets together, as a network predicts it, real (*batch, y, x), or None.
    """

    mean: Tensor
    std: Tensor | None = None
    samples: Tensor | None = None
    evaluations: int = 0
    seconds: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)
    predicted_sd: Tensor | None = None


@dataclass(frozen=True)
class Method(ABC):
    """A frozen dataclass whose fields are the method's parameters; `name` is what the command line calls it.

    A subclass gives `name` and `reconstruct`; the time, the last progress and the record are kept here.
    """

    name: ClassVar[str]

    @abstractmethod
    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Tensor | Result:
        """Return the image (*batch, set, y, x) in the problem's units, or a Result that says more.

        seeds: one per item, for methods that draw; progress: called with the fraction done, 0 to 1.
        No gradients are kept.
        """

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as the run record holds them, of a path only its last part."""
        return {k: Path(v).name if isinstance(v, str) else v for k, v in asdict(self).items()}

    @torch.no_grad()
    def __call__(
        self, problem: Problem, seeds: Seeds | None = None, progress: Progress | None = None
    ) -> Result:
        """Reconstruct `problem` and return the Result with its seconds and record.

        Raises InputError where the method cannot take the problem, or gives an image of another shape.
        """
        start = time.perf_counter()
        report = _silent if progress is None else progress
        found = self.reconstruct(problem, Seeds() if seeds is None else seeds, report)
        result = found if isinstance(found, Result) else Result(found)
        expected = (*problem.A.range.batch_of(problem.y), *problem.A.domain.shape)
        if tuple(result.mean.shape) != expected:
            raise InputError(
                f"method {self.name} gave an image {tuple(result.mean.shape)} where {expected} was expected; "
                "its reconstruct must return (*batch, set, y, x)"
            )
        report(1.0)
        record = {"method": self.name, "parameters": self.parameters(), **result.record}
        return replace(result, seconds=time.perf_counter() - start, record=record)


def _silent(fraction: float) -> None:
    """Report to nobody."""


def check_number(method: Any, field: str, low: float, integer: bool = False) -> None:
    """Raise InputError unless the method's parameter `field` is a finite number ≥ `low` (or an integer)."""
    value = getattr(method, field)
    number = isinstance(value, int if integer else (int, float)) and not isinstance(value, bool)
    if not number or not low <= value < float("inf"):
        kind = "an integer" if integer else "a number"
        raise InputError(f"{method.name}: {field} must be {kind} of at least {low:g}, got {value!r}")


def mean_image(A: LinearOperator, y: Tensor) -> Tensor:
    """Return the flat image (*batch, channel, y, x), one value a channel, whose A x is nearest to y."""
    batch, domain = A.domain.batch_of(A.adjoint(y)), A.domain
    units = torch.eye(domain.shape[0], dtype=domain.dtype, device=y.device)
    flats = units.reshape(-1, *(1,) * len(batch), domain.shape[0], 1, 1).expand(-1, *batch, *domain.shape)
    seen = torch.stack([A(flat) for flat in flats]).flatten(start_dim=1 + len(batch))  # (channel, *batch, n)
    gram = torch.einsum("c...n,d...n->...cd", seen.conj(), seen)
    right = torch.einsum("c...n,...n->...c", seen.conj(), y.flatten(start_dim=len(batch)))
    # Of channels that are not told apart (grey from colour), and of none seen, the least values.
    scale = torch.diagonal(gram, dim1=-2, dim2=-1).real.sum(dim=-1).clamp_min(1e-12)[..., None, None]
    values = torch.linalg.solve(gram + 1e-4 * scale * torch.eye(len(units)).to(gram), right[..., None])[
        ..., 0
    ]
    return values[..., None, None].expand(*batch, *domain.shape)
