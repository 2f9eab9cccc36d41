"""The norm of an operator, for tests."""

from __future__ import annotations

import torch

from mrunfold.solvers import inner


def operator_norm(normal, x, ndim, iterations=30):
    """‖A‖ = √λ_max(AᴴA) per batch item (*batch,), by power iteration from a non-zero start x."""
    item = (...,) + (None,) * ndim
    value = inner(x, x, ndim)
    for _ in range(iterations):
        x = x / inner(x, x, ndim).sqrt().clamp_min(torch.finfo(value.dtype).tiny)[item]
        x = normal(x)
        value = inner(x, x, ndim).sqrt()
    return value.sqrt()
