"""Mixing the channels of each pixel, as colour to grey."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.fourier import item_solution

__all__ = ["ColourMix", "grey"]

# ITU-R BT.601, the luma that JPEG and Pillow's mode "L" have.
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False, repr=False)
class ColourMix(LinearOperator):
    """y_m = Σ_c W_mc x_c in each pixel: x (*batch, channel, y, x) → (*batch, mixture, y, x).

    matrix: (*batch, mixture, channel), real; size: (y, x) of an image.  `solve` is closed-form: the
    eigenvectors of WᴴW are the same in each pixel.
    """

    matrix: Tensor
    size: tuple[int, int]
    _vectors: Tensor = field(init=False)
    _values: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.matrix.ndim < 2 or not self.matrix.is_floating_point():
            raise InputError(
                f"ColourMix expects a real matrix (*batch, mixture, channel), got {tuple(self.matrix.shape)}"
            )
        values, vectors = torch.linalg.eigh(self.matrix.mT @ self.matrix)
        object.__setattr__(self, "_values", values.clamp_min(0))
        object.__setattr__(self, "_vectors", vectors)

    @property
    def domain(self) -> Space:
        return Space((self.matrix.shape[-1], *self.size), self.matrix.dtype)

    @property
    def range(self) -> Space:
        return Space((self.matrix.shape[-2], *self.size), self.matrix.dtype)

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.matrix.shape[:-2])

    def _forward(self, x: Tensor) -> Tensor:
        return _mixed(self.matrix, x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return _mixed(self.matrix.mT, y)

    def measured_fraction(self) -> Tensor:
        return self.matrix.square().sum(dim=(-2, -1)) / self.matrix.shape[-1]

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        system = weight[..., None] * self._values + shift[..., None]  # (*batch, channel)
        return item_solution(
            _mixed(self._vectors, _mixed(self._vectors.mT, rhs) / system[..., None, None]), 3
        )


def _mixed(matrix: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("...mc,...cyx->...myx", matrix, x)


def grey(size: tuple[int, int], dtype: torch.dtype = torch.float32) -> ColourMix:
    """Return the operator that takes a colour image (*batch, 3, y, x) to its luma (*batch, 1, y, x)."""
    return ColourMix(torch.tensor([LUMA], dtype=dtype), size)
