"""Solvers for (weight·AᴴA + shift·I) x = rhs, with everything per batch item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Solution", "Start", "conjugate_gradient", "inner", "two_shifts"]


@dataclass(frozen=True)
class Start:
    """A point x where a solve may begin, with N x known, which saves the solve one normal operator."""

    x: Tensor
    normal: Tensor


@dataclass(frozen=True)
class Solution:
    """A solve's value and its statistics, one entry per batch item.

    x: solution (*batch, *item); iterations: steps each item took (*batch,);
    residual: ‖rhs − (weight·N + shift) x‖ / ‖rhs‖ (*batch,), 0 where rhs is zero;
    converged: residual ≤ tolerance (*batch,); normal: N x as x, None from a closed form.
    """

    x: Tensor
    iterations: Tensor
    residual: Tensor
    converged: Tensor
    normal: Tensor | None = None

    @property
    def start(self) -> Tensor | Start:
        """What the next solve with the same operator begins at."""
        return self.x if self.normal is None else Start(self.x, self.normal)


def inner(a: Tensor, b: Tensor, ndim: int) -> Tensor:
    """Return Re⟨a, b⟩ over the last `ndim` axes, one real number per batch item (*batch,)."""
    if a.is_complex():
        a, b, ndim = torch.view_as_real(a), torch.view_as_real(b), ndim + 1
    # One sum over one axis: a sum over (y, x, part) is seven times as slow.
    return (a * b).flatten(start_dim=-ndim).sum(dim=-1)


def conjugate_gradient(
    normal: Callable[[Tensor], Tensor],
    rhs: Tensor,
    weight: Tensor,
    shift: Tensor,
    ndim: int,
    x0: Tensor | Start | None = None,
    tolerance: Tensor | float = 1e-5,
    max_iterations: int = 100,
) -> Solution:
    """Solve (weight·N + shift·I) x = rhs by conjugate gradients, N Hermitian and positive semidefinite.

    rhs: (*batch, *item) with `ndim` item axes; weight, shift: (*batch,) or broadcastable to it, ≥ 0,
    with weight·N + shift·I positive definite; x0: warm start, as rhs, default zero; with N x0 known (Start),
    as a solve of the same N leaves it, the first normal operator is not needed.
    An item stops by itself when its relative residual is ≤ `tolerance`, a number or one each (*batch,), so
    that its result does not depend on what it is batched with.  Hestenes and Stiefel (1952), eqs. 3:1
    a-f.
    """
    batch = rhs.shape[: rhs.ndim - ndim]
    item = (...,) + (None,) * ndim

    norm = inner(rhs, rhs, ndim)
    if x0 is None:
        x, nx, r = torch.zeros_like(rhs), torch.zeros_like(rhs), rhs.clone()
    else:
        x = x0.x if isinstance(x0, Start) else x0
        known = x0.normal if isinstance(x0, Start) else None
        # Where rhs is zero the solution is: no residual is small relative to it, so no step could stop there.
        if not bool((norm > 0).all()):
            x = torch.where((norm > 0)[item], x, 0.0)
            known = None if known is None else torch.where((norm > 0)[item], known, 0.0)
        nx = normal(x) if known is None else known
        r = rhs - (weight[item] * nx + shift[item] * x)
    p = r.clone()
    rr = inner(r, r, ndim)
    stop = tolerance**2 * norm
    iterations = torch.zeros(batch, dtype=torch.int64, device=rhs.device)
    active = rr > stop
    for _ in range(max_iterations):
        if not bool(active.any()):
            break
        n_p = normal(p)
        q = weight[item] * n_p + shift[item] * p
        curvature = inner(p, q, ndim)
        # A finished item takes steps of length zero: it keeps its x, whatever its neighbours still need.
        alpha = torch.where(active, rr / torch.where(active, curvature, 1.0), 0.0)
        x = x + alpha[item] * p
        nx = nx + alpha[item] * n_p
        r = r - alpha[item] * q
        rr_next = inner(r, r, ndim)
        beta = torch.where(active, rr_next / torch.where(active, rr, 1.0), 0.0)
        p = r + beta[item] * p
        rr = torch.where(active, rr_next, rr)
        iterations = iterations + active
        active = active & (rr > stop)
    residual = torch.where(norm > 0, (rr / torch.where(norm > 0, norm, 1.0)).sqrt(), rr.sqrt())
    # NaN or overflow is not active either, and has not converged.
    return Solution(x, iterations, residual, (rr <= stop) & torch.isfinite(rr), nx)


def two_shifts(
    normal: Callable[[Tensor], Tensor],
    rhs: Tensor,
    shift: Tensor,
    further: Tensor,
    ndim: int,
    tolerance: Tensor | float = 1e-5,
    max_iterations: int = 100,
) -> tuple[Solution, Tensor]:
    """Solve (N + shift·I) x = rhs as `conjugate_gradient` from zero, and (N + further·I) x' = rhs beside it.

    further ≥ shift (*batch,).  x' costs no normal operator: the Krylov space is the same, and the residual of
    the second system is that of the first times a number ζ ≤ 1.  x' is what conjugate gradients of its own
    have after the same steps, and ends when x does.  Jegerlehner, arXiv:hep-lat/9612014 (1996), eq. 2.42 to
    2.44.
    """
    item = (...,) + (None,) * ndim
    x, nx, other = torch.zeros_like(rhs), torch.zeros_like(rhs), torch.zeros_like(rhs)
    r, p, q = rhs.clone(), rhs.clone(), rhs.clone()
    rr = norm = inner(rhs, rhs, ndim)
    stop = tolerance**2 * norm
    apart = (further - shift).expand(rr.shape)
    zeta = before = step = torch.ones_like(rr)
    beta = torch.zeros_like(rr)
    iterations = torch.zeros(rr.shape, dtype=torch.int64, device=rhs.device)
    active = rr > stop
    for _ in range(max_iterations):
        if not bool(active.any()):
            break
        n_p = normal(p)
        curvature = inner(p, n_p + shift[item] * p, ndim)
        alpha = torch.where(active, rr / torch.where(active, curvature, 1.0), 0.0)
        x, nx = x + alpha[item] * p, nx + alpha[item] * n_p
        r = r - alpha[item] * (n_p + shift[item] * p)
        rr_next = inner(r, r, ndim)
        # ζ of the next step, from those of this one and the one before.
        below = alpha * beta * (before - zeta) + before * step * (1 + apart * alpha)
        after = torch.where(active, zeta * before * step / torch.where(active, below, 1.0), zeta)
        other = other + (alpha * after / zeta)[item] * q
        beta = torch.where(active, rr_next / torch.where(active, rr, 1.0), 0.0)
        p = r + beta[item] * p
        q = after[item] * r + (beta * (after / zeta) ** 2)[item] * q
        before, zeta, step = zeta, after, alpha
        rr = torch.where(active, rr_next, rr)
        iterations = iterations + active
        active = active & (rr > stop)
    residual = torch.where(norm > 0, (rr / torch.where(norm > 0, norm, 1.0)).sqrt(), rr.sqrt())
    return Solution(x, iterations, residual, (rr <= stop) & torch.isfinite(rr), nx), other
