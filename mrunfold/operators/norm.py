"""The norm of an operator."""

from __future__ import annotations

import torch

from mrunfold.operators.base import LinearOperator
from mrunfold.solvers import inner

__all__ = ["norm_squared"]


def norm_squared(A: LinearOperator, steps: int = 30) -> float:
    """Return ‖A‖², the largest eigenvalue of AᴴA, of an operator without a batch, by power iteration.

    It begins at one fixed random image, and from below comes within some per cent in a few steps.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(A.domain.shape, dtype=A.domain.dtype, generator=generator).to(A._device())
    value = torch.tensor(0.0)
    for _ in range(steps):
        norm = inner(x, x, A.domain.ndim).sqrt()
        if not float(norm) > 0:
            return 0.0
        x = A.normal(x / norm)
        value = inner(x, x, A.domain.ndim).sqrt()
    return float(value)
