"""A batch whose items have operators of their own, of any class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator
from mrunfold.operators.space import Space
from mrunfold.solvers import Solution, Start

__all__ = ["Batched", "stack"]

Self = TypeVar("Self", bound="Batched")


@dataclass(frozen=True, eq=False, repr=False)
class Batched(LinearOperator):
    """One operator for each item of a batch: x (*batch, n, *domain) → y (*batch, n, *range).

    operators: n of one domain and one range, of any classes, without batch axes of their own.  `solve` is
    each operator's own.
    """

    operators: tuple[LinearOperator, ...]

    def __post_init__(self) -> None:
        if not self.operators:
            raise InputError("a batch needs the operator of at least one item")
        first = self.operators[0]
        for A in self.operators:
            if (A.domain, A.range, A.batch) != (first.domain, first.range, ()):
                raise InputError(
                    f"a batch needs operators of one item each with the same spaces, got {first!r} and {A!r} "
                    f"with a batch {A.batch}"
                )

    @property
    def domain(self) -> Space:
        return self.operators[0].domain

    @property
    def range(self) -> Space:
        return self.operators[0].range

    @property
    def batch(self) -> tuple[int, ...]:
        return (len(self.operators),)

    def to(self: Self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        return type(self)(tuple(A.to(device, dtype) for A in self.operators))

    def _device(self) -> torch.device:
        return self.operators[0]._device()

    def _forward(self, x: Tensor) -> Tensor:
        return self._each([A._forward for A in self.operators], x, self.domain.ndim, self.range.ndim)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._each([A._adjoint for A in self.operators], y, self.range.ndim, self.domain.ndim)

    def _normal(self, x: Tensor) -> Tensor:
        return self._each([A._normal for A in self.operators], x, self.domain.ndim, self.domain.ndim)

    @staticmethod
    def _each(maps, x: Tensor, ndim_in: int, ndim_out: int) -> Tensor:
        found = [f(v) for f, v in zip(maps, x.unbind(-ndim_in - 1), strict=True)]
        return torch.stack(found, -ndim_out - 1)

    def measured_fraction(self) -> Tensor:
        return torch.stack([A.measured_fraction() for A in self.operators])

    def observed(self) -> Tensor:
        return torch.stack([A.observed() for A in self.operators])

    def samples(self, y: Tensor) -> Tensor:
        parts = zip(self.operators, y.unbind(-self.range.ndim - 1), strict=True)
        return torch.stack([A.samples(v) for A, v in parts], dim=-1)

    def coil_maps(self) -> Tensor | None:
        found = [A.coil_maps() for A in self.operators]
        parts = [maps for maps in found if maps is not None]
        if len(parts) < len(found) or len({maps.shape for maps in parts}) > 1:
            return None
        return torch.stack(parts)

    def coil_gain(self, mixing: Tensor | None = None) -> Tensor:
        return torch.stack([A.coil_gain(mixing) for A in self.operators])

    def combine(self, images: Tensor) -> Tensor:
        found = [A.combine(v) for A, v in zip(self.operators, images.unbind(-4), strict=True)]
        return torch.stack(found, -self.domain.ndim - 1)

    def cartesian(self) -> tuple[Tensor, Tensor] | None:
        found = [A.cartesian() for A in self.operators]
        parts = [one for one in found if one is not None]
        if len(parts) < len(found) or len({maps.shape for maps, _ in parts}) > 1:
            return None
        return torch.stack([maps for maps, _ in parts]), torch.stack([mask for _, mask in parts])

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        ndim = self.domain.ndim
        x0 = x0.x if isinstance(x0, Start) else x0
        starts = [None] * len(self.operators) if x0 is None else x0.unbind(-ndim - 1)
        numbers = (v.unbind(-1) for v in (weight, shift, tolerance))
        parts = zip(self.operators, rhs.unbind(-ndim - 1), *numbers, starts, strict=True)
        found = [A._solve(r, w, d, start, until, steps) for A, r, w, d, until, start in parts]
        return Solution(
            torch.stack([s.x for s in found], -ndim - 1),
            torch.stack([s.iterations for s in found], -1),
            torch.stack([s.residual for s in found], -1),
            torch.stack([s.converged for s in found], -1),
        )


def stack(operators: Sequence[LinearOperator]) -> LinearOperator:
    """Return the operator of a batch whose items have `operators`: of their common form, else one by one.

    InputError for spaces that differ, and for operators that have a batch already.
    """
    whole = Batched(tuple(operators))  # checks them
    first, rest = operators[0], operators[1:]
    common = first.stacked(rest) if all(type(A) is type(first) for A in rest) else None
    # A subclass that does not say how it is stacked inherits what stacks its base class.
    return common if type(common) is type(first) else whole
