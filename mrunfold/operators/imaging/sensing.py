"""Compressed sensing: some coefficients of an orthogonal transform that spreads each pixel over all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.fourier import item_solution

__all__ = ["CompressedSensing", "cosine_matrix"]


@lru_cache(maxsize=8)
def cosine_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthonormal DCT-II as a matrix (frequency, sample)."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * k[:, None] * (k + 0.5)) * math.sqrt(2 / size)
    matrix[0] = 1 / math.sqrt(size)
    return matrix.to(device=device, dtype=dtype)


@dataclass(frozen=True, eq=False, repr=False)
class CompressedSensing(LinearOperator):
    """y = M C (s ⊙ x), C the orthonormal cosine transform of y and x: (*batch, channel, y, x) → the same.

    mask: (*batch, y, x) real or bool, 0 where a coefficient is not measured (y is zero there); signs:
    (*batch, y, x) of ±1, which make the transform incoherent with images (Do et al., IEEE TSP 60 (2012)).
    `solve` is closed-form, since C and s are orthogonal.
    """

    mask: Tensor
    signs: Tensor
    channels: int = 3
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.mask.ndim < 2 or self.mask.shape != self.signs.shape:
            raise InputError(
                "CompressedSensing expects a mask and signs (*batch, y, x) of one shape, got "
                f"{tuple(self.mask.shape)} and {tuple(self.signs.shape)}"
            )
        if not bool((self.signs.abs() == 1).all()):
            raise InputError("CompressedSensing expects signs of +1 and −1; draw them with torch.randint")
        object.__setattr__(self, "mask", self.mask.to(self.dtype))
        object.__setattr__(self, "signs", self.signs.to(self.dtype))

    @property
    def domain(self) -> Space:
        return Space((self.channels, *self.mask.shape[-2:]), self.dtype)

    range = domain

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.mask.shape[:-2])

    def _transform(self, x: Tensor, inverse: bool = False) -> Tensor:
        rows, columns = (cosine_matrix(n, x.dtype, x.device) for n in self.mask.shape[-2:])
        signs = self.signs[..., None, :, :]
        if inverse:
            return signs * (rows.mT @ x @ columns)
        return rows @ (signs * x) @ columns.mT

    def _forward(self, x: Tensor) -> Tensor:
        return self.mask[..., None, :, :] * self._transform(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._transform(self.mask[..., None, :, :] * y, inverse=True)

    def measured_fraction(self) -> Tensor:
        return (self.mask**2).mean(dim=(-2, -1))

    def observed(self) -> Tensor:
        return (self.mask[..., None, :, :] != 0).expand(*self.batch, *self.range.shape)

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        item = (..., None, None, None)
        system = weight[item] * self.mask[..., None, :, :] ** 2 + shift[item]
        return item_solution(self._transform(self._transform(rhs) / system, inverse=True), 3)
