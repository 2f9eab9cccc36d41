"""Inpainting: some pixels are seen, the others are not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.fourier import item_solution

__all__ = ["Inpaint"]


@dataclass(frozen=True, eq=False, repr=False)
class Inpaint(LinearOperator):
    """y = M x: x (*batch, channel, y, x) → the same, zero where nothing is seen.

    mask: (*batch, y, x), real or bool, 0 where a pixel is missing; channels: of the image.  `solve` is
    closed-form, pixel by pixel.
    """

    mask: Tensor
    channels: int = 3
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.mask.ndim < 2 or self.mask.is_complex():
            raise InputError(f"Inpaint expects a real mask (*batch, y, x), got {tuple(self.mask.shape)}")
        object.__setattr__(self, "mask", self.mask.to(self.dtype))

    @property
    def domain(self) -> Space:
        return Space((self.channels, *self.mask.shape[-2:]), self.dtype)

    range = domain

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.mask.shape[:-2])

    def _forward(self, x: Tensor) -> Tensor:
        return self.mask[..., None, :, :] * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.mask[..., None, :, :] * y

    def measured_fraction(self) -> Tensor:
        return (self.mask**2).mean(dim=(-2, -1))

    def observed(self) -> Tensor:
        return (self.mask[..., None, :, :] != 0).expand(*self.batch, *self.range.shape)

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        item = (..., None, None, None)
        return item_solution(rhs / (weight[item] * self.mask[..., None, :, :] ** 2 + shift[item]), 3)
