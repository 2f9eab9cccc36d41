"""Linear operators: frozen, with declared spaces, matched adjoints, a regularised inverse and an algebra."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.facts import Facts
from mrunfold.operators.gradients import Apply, Solve
from mrunfold.operators.space import Space, describe, real_dtype
from mrunfold.solvers import Solution, Start, conjugate_gradient, inner

__all__ = ["Adjoint", "Composed", "LinearOperator", "Scaled", "Space", "Sum"]

Self = TypeVar("Self", bound="LinearOperator")
Gradient = Literal["implicit", "unrolled"]


@dataclass(frozen=True, eq=False)
class LinearOperator(Facts):
    """A linear map A between two spaces; a subclass gives `domain`, `range`, `_forward`, `_adjoint`.

    Batch axes come first; their number is free.  If the operator's own tensors have batch axes, `batch` gives
    them, and the input must have them too (last, before the item's axes).
    Operators never change: `to` returns a new one.  Gradients flow to the input, by the adjoint, and not to
    the operator's own tensors.
    """

    @property
    @abstractmethod
    def domain(self) -> Space: ...

    @property
    @abstractmethod
    def range(self) -> Space: ...

    @property
    def batch(self) -> tuple[int, ...]:
        """Batch axes of the operator's own tensors; () if it is the same for every item."""
        return ()

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...

    def _normal(self, x: Tensor) -> Tensor:
        return self._adjoint(self._forward(x))

    def _solve(
        self,
        rhs: Tensor,
        weight: Tensor,
        shift: Tensor,
        x0: Tensor | Start | None,
        tolerance: Tensor,
        steps: int,
    ) -> Solution:
        """Solve by differentiable steps; a subclass with a closed form overrides this."""
        return conjugate_gradient(self.normal, rhs, weight, shift, self.domain.ndim, x0, tolerance, steps)

    def forward(self, x: Tensor) -> Tensor:
        """Return A x: (*batch, *domain.shape) → (*batch, *range.shape)."""
        self._check(x, self.domain)
        return Apply.apply(x, self._forward, self._adjoint)

    __call__ = forward

    def adjoint(self, y: Tensor) -> Tensor:
        """Return Aᴴ y: (*batch, *range.shape) → (*batch, *domain.shape)."""
        self._check(y, self.range)
        return Apply.apply(y, self._adjoint, self._forward)

    def normal(self, x: Tensor) -> Tensor:
        """Return AᴴA x: (*batch, *domain.shape) → the same."""
        self._check(x, self.domain)
        return Apply.apply(x, self._normal, self._normal)

    def solve(
        self,
        rhs: Tensor,
        weight: Tensor | float,
        shift: Tensor | float,
        x0: Tensor | Start | None = None,
        *,
        tolerance: Tensor | float = 1e-5,
        max_iterations: int = 100,
        gradient: Gradient = "implicit",
    ) -> Tensor:
        """Return (weight·AᴴA + shift·I)⁻¹ rhs, by a closed form or by conjugate gradients from x0.

        rhs, x0: (*batch, *domain.shape); weight ≥ 0, shift > 0 and tolerance: numbers or (*batch,).
        Conjugate gradients stop per item at ‖residual‖ ≤ tolerance·‖rhs‖ or after max_iterations.
        gradient: "implicit" differentiates the exact solution in rhs, weight and shift by one more solve,
        whatever the steps were, and x0 only says where to begin; "unrolled" differentiates the steps that
        were taken, x0 included, and so stays exact when max_iterations cuts them short.
        """
        return self.solve_with_statistics(
            rhs, weight, shift, x0, tolerance=tolerance, max_iterations=max_iterations, gradient=gradient
        ).x

    def solve_with_statistics(
        self,
        rhs: Tensor,
        weight: Tensor | float,
        shift: Tensor | float,
        x0: Tensor | Start | None = None,
        *,
        tolerance: Tensor | float = 1e-5,
        max_iterations: int = 100,
        gradient: Gradient = "implicit",
    ) -> Solution:
        """As `solve`, with each item's iterations, residual and convergence, and AᴴA x where it is known.

        The `start` of the result begins another solve of this operator, and saves it a normal operator.
        """
        self._check(rhs, self.domain)
        for given in (x0.x, x0.normal) if isinstance(x0, Start) else () if x0 is None else (x0,):
            self._check(given, self.domain)
            if given.shape != rhs.shape:
                raise InputError(
                    f"{type(self).__name__}.solve expects an x0 like rhs, {describe(rhs)}, "
                    f"got {describe(given)}; give one start for each item"
                )
        weight, shift = self._per_item("weight", weight, rhs), self._per_item("shift", shift, rhs)
        tolerance = self._per_item("tolerance", tolerance, rhs)
        if gradient == "unrolled":
            return self._solve(rhs, weight, shift, x0, tolerance, max_iterations)
        return Solution(*Solve.apply(rhs, weight, shift, x0, self, tolerance, max_iterations))

    def measured_fraction(self) -> Tensor:
        """Return tr(AᴴA) / dim(domain) per item (*batch,): how much of the unknown is measured.

        Estimated from one fixed random probe of ±1 (Hutchinson, Commun. Stat. 19 (1990)); an operator
        that knows it exactly overrides this.
        """
        generator = torch.Generator().manual_seed(0)
        probe = torch.randint(2, (*self.batch, *self.domain.shape), generator=generator) * 2 - 1
        probe = probe.to(self.domain.dtype).to(self._device())
        return inner(probe, self._normal(probe), self.domain.ndim) / math.prod(self.domain.shape)

    def _device(self) -> torch.device:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                return value.device
            if isinstance(value, LinearOperator):
                return value._device()
        return torch.device("cpu")

    @property
    def H(self) -> LinearOperator:
        """Aᴴ as an operator."""
        return Adjoint(self)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Return A B: first B, then A."""
        return Composed(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __add__(self, other: LinearOperator) -> LinearOperator:
        """Return A + B, of the same spaces."""
        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, Scaled(other, -1.0)) if isinstance(other, LinearOperator) else NotImplemented

    def __mul__(self, factor: complex) -> LinearOperator:
        """Return c A of a number c."""
        return Scaled(self, factor) if isinstance(factor, int | float | complex) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> LinearOperator:
        return Scaled(self, -1.0)

    def to(self: Self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Return the operator with its tensors on `device`, complex ones as `dtype` (real ones to match)."""
        real = None if dtype is None else real_dtype(dtype)
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, LinearOperator):
                changed[field.name] = value.to(device, dtype)
            elif isinstance(value, Tensor) and field.init:
                kind = dtype if value.is_complex() else real if value.is_floating_point() else None
                changed[field.name] = value.to(device=device, dtype=kind)
            elif isinstance(value, torch.dtype) and dtype is not None:
                changed[field.name] = dtype
        same = all(getattr(self, name) is value for name, value in changed.items())
        return self if same else replace(self, **changed)  # what is derived from them stays too

    def _per_item(self, name: str, value: Tensor | float, rhs: Tensor) -> Tensor:
        batch = self.domain.batch_of(rhs)
        value = torch.as_tensor(value, dtype=rhs.real.dtype, device=rhs.device)
        try:
            return value.expand(batch)
        except RuntimeError:
            raise InputError(
                f"{type(self).__name__}.solve expects a {name} for each item of the batch {tuple(batch)}, "
                f"got {tuple(value.shape)}; give a number or a tensor of that shape"
            ) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.domain} → {self.range}"

    def _check(self, x: Tensor, space: Space) -> None:
        fits = x.ndim >= space.ndim and tuple(x.shape[x.ndim - space.ndim :]) == space.shape
        if not fits or x.dtype != space.dtype:
            raise InputError(
                f"{type(self).__name__} expects {space}, got {describe(x)}; "
                "crop or pad it to that shape and convert it to that dtype"
            )
        batch = tuple(space.batch_of(x))
        if self.batch and batch[len(batch) - len(self.batch) :] != self.batch:
            raise InputError(
                f"{type(self).__name__} holds one operator for each of a batch {self.batch}, got a batch "
                f"{batch}; expand the argument to that batch or take the operator of one item"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Adjoint(LinearOperator):
    """Aᴴ of an operator A."""

    of: LinearOperator

    @property
    def domain(self) -> Space:
        return self.of.range

    @property
    def range(self) -> Space:
        return self.of.domain

    @property
    def batch(self) -> tuple[int, ...]:
        return self.of.batch

    def _forward(self, x: Tensor) -> Tensor:
        return self.of._adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.of._forward(y)

    @property
    def H(self) -> LinearOperator:
        return self.of


@dataclass(frozen=True, eq=False, repr=False)
class Composed(LinearOperator):
    """outer ∘ inner, checked when it is composed."""

    outer: LinearOperator
    inner: LinearOperator

    def __post_init__(self) -> None:
        if self.outer.domain != self.inner.range:
            raise InputError(
                f"cannot compose: {type(self.outer).__name__} expects {self.outer.domain}, "
                f"{type(self.inner).__name__} gives {self.inner.range}; make the two spaces the same"
            )
        _check_batches("compose", self.outer, self.inner)

    @property
    def domain(self) -> Space:
        return self.inner.domain

    @property
    def range(self) -> Space:
        return self.outer.range

    @property
    def batch(self) -> tuple[int, ...]:
        return self.outer.batch or self.inner.batch

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer._forward(self.inner._forward(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner._adjoint(self.outer._adjoint(y))

    def _normal(self, x: Tensor) -> Tensor:
        return self.inner._adjoint(self.outer._normal(self.inner._forward(x)))

    def observed(self) -> Tensor:
        seen = self.outer.observed()
        return seen.expand(*self.batch, *self.range.shape)

    def coil_gain(self, mixing: Tensor | None = None) -> Tensor:
        return self.inner.coil_gain(mixing).expand(*self.batch, 1, *self.domain.shape[1:])

    def combine(self, images: Tensor) -> Tensor:
        return self.inner.combine(images)


@dataclass(frozen=True, eq=False, repr=False)
class Sum(LinearOperator):
    """A + B of two operators with the same spaces."""

    first: LinearOperator
    second: LinearOperator

    def __post_init__(self) -> None:
        if (self.first.domain, self.first.range) != (self.second.domain, self.second.range):
            raise InputError(
                f"cannot add {self.first!r} and {self.second!r}; make their domains and their ranges the same"
            )
        _check_batches("add", self.first, self.second)

    @property
    def domain(self) -> Space:
        return self.first.domain

    @property
    def range(self) -> Space:
        return self.first.range

    @property
    def batch(self) -> tuple[int, ...]:
        return self.first.batch or self.second.batch

    def _forward(self, x: Tensor) -> Tensor:
        return self.first._forward(x) + self.second._forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.first._adjoint(y) + self.second._adjoint(y)

    def observed(self) -> Tensor:
        return self.first.observed() | self.second.observed()


@dataclass(frozen=True, eq=False, repr=False)
class Scaled(LinearOperator):
    """c A of a number c, complex only where A is; `solve` is A's own."""

    of: LinearOperator
    factor: complex

    def __post_init__(self) -> None:
        real = not (self.of.domain.dtype.is_complex and self.of.range.dtype.is_complex)
        if real and isinstance(self.factor, complex):
            raise InputError(f"{self.of!r} is real and cannot be multiplied by {self.factor}")

    @property
    def domain(self) -> Space:
        return self.of.domain

    @property
    def range(self) -> Space:
        return self.of.range

    @property
    def batch(self) -> tuple[int, ...]:
        return self.of.batch

    def _forward(self, x: Tensor) -> Tensor:
        return self.factor * self.of._forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.factor.conjugate() * self.of._adjoint(y)

    def _normal(self, x: Tensor) -> Tensor:
        return abs(self.factor) ** 2 * self.of._normal(x)

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        square = abs(self.factor) ** 2
        if isinstance(x0, Start):  # it knows |c|² AᴴA x
            x0 = x0.x
        solution = self.of._solve(rhs, weight * square, shift, x0, tolerance, steps)
        return solution if solution.normal is None else replace(solution, normal=square * solution.normal)

    def measured_fraction(self) -> Tensor:
        return abs(self.factor) ** 2 * self.of.measured_fraction()

    def observed(self) -> Tensor:
        return self.of.observed()

    def coil_gain(self, mixing: Tensor | None = None) -> Tensor:
        return abs(self.factor) * self.of.coil_gain(mixing)

    def combine(self, images: Tensor) -> Tensor:
        return self.factor.conjugate() * self.of.combine(images)


def _check_batches(verb: str, first: LinearOperator, second: LinearOperator) -> None:
    if first.batch and second.batch and first.batch != second.batch:
        raise InputError(f"cannot {verb} operators of different batches, {first.batch} and {second.batch}")
