"""A batch whose items have operators of different kinds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.imaging.inpaint import Inpaint
from mrunfold.operators.imaging.sensing import CompressedSensing
from mrunfold.solvers import Solution, Start

__all__ = ["Flat", "Items", "observed"]


@dataclass(frozen=True, eq=False, repr=False)
class Flat(LinearOperator):
    """An operator whose measurements are one vector (*batch, length), zeros after them."""

    of: LinearOperator
    length: int

    def __post_init__(self) -> None:
        count = math.prod(self.of.range.shape)
        if self.of.batch or self.length < count:
            raise InputError(
                f"Flat needs the operator of one item and a length of at least {count}, got a batch "
                f"{self.of.batch} and {self.length}"
            )

    @property
    def domain(self) -> Space:
        return self.of.domain

    @property
    def range(self) -> Space:
        return Space((self.length,), self.of.range.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        y = self.of._forward(x).flatten(start_dim=x.ndim - self.domain.ndim)
        return F.pad(y, (0, self.length - y.shape[-1]))

    def _adjoint(self, y: Tensor) -> Tensor:
        shape = self.of.range.shape
        return self.of._adjoint(y[..., : math.prod(shape)].reshape(*y.shape[:-1], *shape))

    def _normal(self, x: Tensor) -> Tensor:
        return self.of._normal(x)

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        return self.of._solve(rhs, weight, shift, x0, tolerance, steps)

    def measured_fraction(self) -> Tensor:
        return self.of.measured_fraction()


@dataclass(frozen=True, eq=False, repr=False)
class Items(LinearOperator):
    """One operator for each item of a batch: x (*batch, n, *domain) → y (*batch, n, longest range).

    operators: n of one domain, of any kinds and ranges; measurements are vectors with zeros after them
    (`Flat`), so that those of different kinds stand in one tensor.  `solve` is each operator's own.
    """

    operators: tuple[LinearOperator, ...]

    def __post_init__(self) -> None:
        domains = {(A.domain.shape, A.domain.dtype) for A in self.operators}
        if len(domains) != 1:
            raise InputError(f"Items needs operators of one domain, got {len(domains)}: {self.operators}")
        length = max(math.prod(A.range.shape) for A in self.operators)
        flat = tuple(
            A if isinstance(A, Flat) and A.length == length else Flat(A, length) for A in self.operators
        )
        object.__setattr__(self, "operators", flat)

    @property
    def domain(self) -> Space:
        return self.operators[0].domain

    @property
    def range(self) -> Space:
        return self.operators[0].range

    @property
    def batch(self) -> tuple[int, ...]:
        return (len(self.operators),)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Items:
        return Items(tuple(A.to(device, dtype) for A in self.operators))

    def _device(self) -> torch.device:
        return self.operators[0]._device()

    def _forward(self, x: Tensor) -> Tensor:
        ndim = self.domain.ndim
        return torch.stack([A._forward(v) for A, v in zip(self.operators, _items(x, ndim), strict=True)], -2)

    def _adjoint(self, y: Tensor) -> Tensor:
        found = [A._adjoint(v) for A, v in zip(self.operators, y.unbind(-2), strict=True)]
        return torch.stack(found, -self.domain.ndim - 1)

    def _normal(self, x: Tensor) -> Tensor:
        ndim = self.domain.ndim
        found = [A._normal(v) for A, v in zip(self.operators, _items(x, ndim), strict=True)]
        return torch.stack(found, -ndim - 1)

    def measured_fraction(self) -> Tensor:
        return torch.stack([A.measured_fraction() for A in self.operators])

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        ndim = self.domain.ndim
        x0 = x0.x if isinstance(x0, Start) else x0
        starts = [None] * len(self.operators) if x0 is None else _items(x0, ndim)
        numbers = (v.unbind(-1) for v in (weight, shift, tolerance))
        parts = zip(self.operators, _items(rhs, ndim), *numbers, starts, strict=True)
        found = [A._solve(r, w, d, start, until, steps) for A, r, w, d, until, start in parts]
        return Solution(
            torch.stack([s.x for s in found], -ndim - 1),
            torch.stack([s.iterations for s in found], -1),
            torch.stack([s.residual for s in found], -1),
            torch.stack([s.converged for s in found], -1),
        )


def observed(A: LinearOperator) -> Tensor:
    """Return where y is measured, bool (*A.batch, *A.range.shape); elsewhere it is 0, without noise."""
    if isinstance(A, Items):
        return torch.stack([observed(one) for one in A.operators])
    if isinstance(A, Flat):
        seen = observed(A.of).flatten()
        return F.pad(seen, (0, A.length - len(seen)))
    shape = (*A.batch, *A.range.shape)
    if isinstance(A, Inpaint | CompressedSensing):
        return (A.mask[..., None, :, :] != 0).expand(shape)
    return torch.ones(shape, dtype=torch.bool, device=A._device())


def _items(x: Tensor, ndim: int) -> Sequence[Tensor]:
    return x.unbind(-ndim - 1)
