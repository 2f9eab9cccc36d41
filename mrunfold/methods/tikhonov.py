"""Tikhonov: regularised least squares about a mean colour, in closed form where the operator has one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrunfold.methods.base import Result, Seeds
from mrunfold.methods.cartesian import check_number
from mrunfold.operators import LinearOperator
from mrunfold.problem import Problem

__all__ = ["Tikhonov", "mean_image"]


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


@dataclass(frozen=True)
class Tikhonov:
    """x = μ + (AᴴA + lamda σ_y² I)⁻¹ Aᴴ(y − Aμ), μ the flat image nearest to y.

    lamda: 1/variance of the pixels about μ, ≥ 0; 16 is a standard deviation of ¼.  The Wiener filter of a
    white image of that variance.  Takes any operator; closed-form where its `solve` is.
    """

    lamda: float = 16.0
    name: ClassVar[str] = "tikhonov"

    def __post_init__(self) -> None:
        check_number(self, "lamda", low=0.0)

    @torch.no_grad()
    def __call__(
        self,
        problem: Problem,
        seeds: Seeds = Seeds(),  # noqa: B008 (frozen)
        progress: Callable[[float], None] | None = None,
    ) -> Result:
        start = time.perf_counter()
        A, y = problem.A, problem.y
        middle = mean_image(A, y)
        shift = (self.lamda * problem.sigma_y.to(y.real.dtype) ** 2).clamp_min(1e-8)
        x = middle + A.solve(A.adjoint(y - A(middle)), 1.0, shift)
        if progress is not None:
            progress(1.0)
        record = {"method": self.name, "parameters": asdict(self)}
        return Result(x, seconds=time.perf_counter() - start, record=record)
