"""Gradients of A x and of a solve: by the adjoint and by one more solve, with nothing stored in between."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mrunfold.solvers import inner

__all__ = ["Apply", "Solve"]

log = logging.getLogger(__name__)


class Apply(Function):
    """y = A x, whose gradient is Aᴴ applied to y's; nothing is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, apply: Any, transpose: Any) -> Tensor:
        ctx.map, ctx.transpose = apply, transpose
        y = apply(x)
        return y.clone() if y is x else y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return Apply.apply(gradient, ctx.transpose, ctx.map), None, None


class Solve(Function):
    """x = M⁻¹ rhs with M = weight·N + shift·I; M is Hermitian, so the gradients are one more solve.

    With g the gradient of x and v = M⁻¹ g:  ∂rhs = v,  ∂weight = −Re⟨v, N x⟩,  ∂shift = −Re⟨v, x⟩.
    """

    @staticmethod
    def forward(ctx: Any, rhs, weight, shift, x0, operator, tolerance, steps):
        solution = operator._solve(rhs, weight, shift, x0, tolerance, steps)
        if not bool(solution.converged.all()):
            log.debug(
                "%s: relative residual %.1e after %d conjugate gradient steps (asked %.1e)",
                type(operator).__name__,
                float(solution.residual.max()),
                steps,
                float(tolerance.min()),
            )
        ctx.operator, ctx.tolerance, ctx.steps = operator, tolerance, steps
        ctx.save_for_backward(solution.x, weight, shift)
        known = () if solution.normal is None else (solution.normal,)
        rest = solution.iterations, solution.residual, solution.converged, *known
        ctx.mark_non_differentiable(*rest)
        return solution.x, *rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, shift = ctx.saved_tensors
        v = ctx.operator._solve(gradient, weight, shift, None, ctx.tolerance, ctx.steps).x
        ndim = ctx.operator.domain.ndim
        d_weight = -inner(v, ctx.operator._normal(x), ndim) if ctx.needs_input_grad[1] else None
        d_shift = -inner(v, x, ndim) if ctx.needs_input_grad[2] else None
        return v, d_weight, d_shift, None, None, None, None
