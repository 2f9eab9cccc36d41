"""A batch of photographs whose items have operators of different kinds and ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.batched import Batched

__all__ = ["Flat", "Items"]


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

    def observed(self) -> Tensor:
        seen = self.of.observed().flatten()
        return F.pad(seen, (0, self.length - len(seen)))


@dataclass(frozen=True, eq=False, repr=False)
class Items(Batched):
    """One operator for each item of a batch: x (*batch, n, *domain) → y (*batch, n, longest range).

    operators: n of one domain, of any kinds and ranges; measurements are vectors with zeros after them
    (`Flat`), so that those of different kinds stand in one tensor.  `solve` is each operator's own.
    """

    def __post_init__(self) -> None:
        domains = {(A.domain.shape, A.domain.dtype) for A in self.operators}
        if len(domains) != 1:
            raise InputError(f"Items needs operators of one domain, got {len(domains)}: {self.operators}")
        length = max(math.prod(A.range.shape) for A in self.operators)
        flat = tuple(
            A if isinstance(A, Flat) and A.length == length else Flat(A, length) for A in self.operators
        )
        object.__setattr__(self, "operators", flat)
        super().__post_init__()
