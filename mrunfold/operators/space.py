"""Shape and dtype of the vectors in the domain and range of an operator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Space", "describe", "real_dtype"]


@dataclass(frozen=True)
class Space:
    """What one item of a vector space looks like: its shape, without batch axes, and its dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def batch_of(self, x: Tensor) -> torch.Size:
        """Return the batch axes that lead `x`."""
        return x.shape[: x.ndim - self.ndim]

    def __str__(self) -> str:
        return f"(*batch, {', '.join(map(str, self.shape))}) {str(self.dtype).removeprefix('torch.')}"


def describe(x: Tensor) -> str:
    """Return the shape and dtype of a tensor in words."""
    return f"({', '.join(map(str, x.shape))}) {str(x.dtype).removeprefix('torch.')}"


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of real and imaginary parts; a real dtype itself."""
    return torch.empty(0, dtype=dtype).real.dtype
