"""Blur by a kernel, with borders that wrap around or are replicated."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.fourier import AXES, item_solution

__all__ = ["Blur", "CircularBlur", "check_kernel", "transfer"]


def check_kernel(name: str, kernel: Tensor, shape: tuple[int, ...]) -> None:
    """Raise InputError where `kernel` is no (*batch, y, x) real kernel that fits into images of `shape`."""
    if kernel.ndim < 2 or not kernel.is_floating_point():
        raise InputError(
            f"{name} expects a real kernel (*batch, y, x), got {tuple(kernel.shape)} {kernel.dtype}"
        )
    if len(shape) != 3:
        raise InputError(f"{name} expects images of a shape (channel, y, x), got {tuple(shape)}")
    if any(k > n for k, n in zip(kernel.shape[-2:], shape[-2:], strict=True)):
        raise InputError(
            f"the kernel is {tuple(kernel.shape[-2:])} and the image {tuple(shape[-2:])}; "
            "take a smaller kernel or a larger image"
        )


def transfer(kernel: Tensor, size: tuple[int, int], centre: tuple[int, int]) -> Tensor:
    """Return the kernel's rfft2 (*batch, y, x//2 + 1) on a grid of `size`, its `centre` at the origin."""
    ky, kx = kernel.shape[-2:]
    padded = F.pad(kernel, (0, size[1] - kx, 0, size[0] - ky))
    return torch.fft.rfft2(torch.roll(padded, (-centre[0], -centre[1]), dims=AXES))


@dataclass(frozen=True, eq=False, repr=False)
class CircularBlur(LinearOperator):
    """y = k ∗ x with borders that wrap around: x (*batch, channel, y, x) → the same.

    kernel: (*batch, y, x) real, its centre at index N//2 of each axis, one for all channels; shape: (channel,
    y, x) of an image, no smaller than the kernel.  `solve` is closed-form: F⁻¹ (weight·|k̂|² + shift)⁻¹ F.
    """

    kernel: Tensor
    shape: tuple[int, int, int]
    _transfer: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_kernel("CircularBlur", self.kernel, self.shape)
        ky, kx = self.kernel.shape[-2:]
        values = transfer(self.kernel, self._size, (ky // 2, kx // 2))
        object.__setattr__(self, "_transfer", values[..., None, :, :])  # (*batch, 1, y, x//2 + 1)

    @property
    def domain(self) -> Space:
        return Space(tuple(self.shape), self.kernel.dtype)

    range = domain

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.kernel.shape[:-2])

    @property
    def _size(self) -> tuple[int, int]:
        return self.shape[1], self.shape[2]

    def _filter(self, x: Tensor, values: Tensor) -> Tensor:
        return torch.fft.irfft2(values * torch.fft.rfft2(x), s=self._size)

    def _forward(self, x: Tensor) -> Tensor:
        return self._filter(x, self._transfer)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._filter(y, self._transfer.conj())

    def _normal(self, x: Tensor) -> Tensor:
        return self._filter(x, self._transfer.abs().square())

    def measured_fraction(self) -> Tensor:
        return self.kernel.square().sum(dim=AXES)

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        item = (..., None, None, None)
        system = weight[item] * self._transfer.abs().square() + shift[item]
        return item_solution(self._filter(rhs, 1 / system), 3)


@dataclass(frozen=True, eq=False, repr=False)
class Blur(LinearOperator):
    """y = k ∗ x with replicated borders, as of a photograph: x (*batch, channel, y, x) → the same.

    kernel: (*batch, y, x) real, its centre at index N//2 of each axis, one for all channels; shape: (channel,
    y, x) of an image, no smaller than the kernel.  `solve` is by conjugate gradients.
    """

    kernel: Tensor
    shape: tuple[int, int, int]
    _transfer: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_kernel("Blur", self.kernel, self.shape)
        ky, kx = self.kernel.shape[-2:]
        # On the grid of the padded image the convolution may wrap: what wrapped is cut off.
        values = transfer(self.kernel, self._padded, (ky - 1, kx - 1))
        object.__setattr__(self, "_transfer", values[..., None, :, :])

    @property
    def domain(self) -> Space:
        return Space(tuple(self.shape), self.kernel.dtype)

    range = domain

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.kernel.shape[:-2])

    @property
    def _padded(self) -> tuple[int, int]:
        ky, kx = self.kernel.shape[-2:]
        return self.shape[1] + ky - 1, self.shape[2] + kx - 1

    @property
    def _margins(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows before and after, columns before and after."""
        ky, kx = self.kernel.shape[-2:]
        return (ky - 1 - ky // 2, ky // 2), (kx - 1 - kx // 2, kx // 2)

    def _forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = self._margins
        flat = x.flatten(end_dim=-4) if x.ndim > 3 else x[None]
        z = F.pad(flat, (left, right, top, bottom), mode="replicate").reshape(*x.shape[:-2], *self._padded)
        z = torch.fft.irfft2(self._transfer * torch.fft.rfft2(z), s=self._padded)
        return z[..., : self.shape[1], : self.shape[2]]

    def _adjoint(self, y: Tensor) -> Tensor:
        z = torch.fft.rfft2(y, s=self._padded)
        z = torch.fft.irfft2(self._transfer.conj() * z, s=self._padded)
        for axis, (before, after) in zip(AXES, self._margins, strict=True):
            z = _gathered(z, before, after, axis)
        return z


def _gathered(z: Tensor, before: int, after: int, axis: int) -> Tensor:
    """Adjoint of replicating an axis: the margins are added to the edges they were copied from."""
    size = z.shape[axis] - before - after
    middle = z.narrow(axis, before, size).clone()
    middle.narrow(axis, 0, 1).add_(z.narrow(axis, 0, before).sum(dim=axis, keepdim=True))
    middle.narrow(axis, size - 1, 1).add_(z.narrow(axis, before + size, after).sum(dim=axis, keepdim=True))
    return middle
