"""The centred unitary Fourier transform, and sampling in it by a single coil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.solvers import Solution

__all__ = ["FourierMask", "Identity", "centring", "fft2c", "ifft2c"]

AXES = (-2, -1)


def fft2c(x: Tensor) -> Tensor:
    """Return the unitary 2-D FFT of (…, y, x) with both origins at N//2, as fastMRI and BART have it."""
    x = torch.fft.ifftshift(x, dim=AXES)
    return torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=AXES)


def ifft2c(y: Tensor) -> Tensor:
    """Return the inverse of `fft2c`, (…, y, x)."""
    y = torch.fft.ifftshift(y, dim=AXES)
    return torch.fft.fftshift(torch.fft.ifft2(y, norm="ortho"), dim=AXES)


def centring(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the phases p (y, x) that centre a transform without shifts: fft2c(x) = p · FFT(p · x), unitary.

    With c = N // 2, exp(−2πi (k − c)(n − c) / N) is p_k p_n exp(−2πi k n / N) along each axis of length N,
    where p_n = exp(2πi (c n − c²/2) / N).
    """
    ramps = []
    for n in shape:
        place, c = torch.arange(n, dtype=torch.float64), n // 2
        # Whole turns are taken off first, exactly: 2(c n) − c² is an integer.
        turns = torch.remainder(2 * c * place - c * c, 2 * n) / (2 * n)
        ramps.append(torch.polar(torch.ones_like(turns), 2 * torch.pi * turns))
    return (ramps[0][:, None] * ramps[1]).to(device=device, dtype=dtype)


def item_solution(x: Tensor, ndim: int) -> Solution:
    """Return a closed-form solution: no iterations, no residual."""
    batch = x.shape[: x.ndim - ndim]
    return Solution(
        x,
        torch.zeros(batch, dtype=torch.int64, device=x.device),
        torch.zeros(batch, dtype=x.real.dtype, device=x.device),
        torch.ones(batch, dtype=torch.bool, device=x.device),
    )


@dataclass(frozen=True, eq=False, repr=False)
class Identity(LinearOperator):
    """A x = x on images of one shape and dtype."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.complex64

    @property
    def domain(self) -> Space:
        return Space(tuple(self.shape), self.dtype)

    range = domain

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        return y

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        item = (...,) + (None,) * self.domain.ndim
        return item_solution(rhs / (weight + shift)[item], self.domain.ndim)


@dataclass(frozen=True, eq=False, repr=False)
class FourierMask(LinearOperator):
    """y = M F x of coil images: x (*batch, coil, y, x) → y (*batch, coil, y, x).

    mask: (*batch, y, x), real or bool, 0 where nothing was sampled; coils: 1 for the image of one coil of
    uniform sensitivity.  `solve` is closed-form, since F is unitary: Fᴴ (weight·M² + shift)⁻¹ F.
    """

    mask: Tensor
    dtype: torch.dtype = torch.complex64
    coils: int = 1

    def __post_init__(self) -> None:
        if self.mask.ndim < 2 or self.mask.is_complex():
            raise InputError(f"FourierMask expects a real mask (*batch, y, x), got {tuple(self.mask.shape)}")
        real = torch.empty(0, dtype=self.dtype).real.dtype
        object.__setattr__(self, "mask", self.mask.to(real))

    @property
    def domain(self) -> Space:
        return Space((self.coils, *self.mask.shape[-2:]), self.dtype)

    range = domain

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.mask.shape[:-2])

    def _forward(self, x: Tensor) -> Tensor:
        return self.mask[..., None, :, :] * fft2c(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return ifft2c(self.mask[..., None, :, :] * y)

    def _normal(self, x: Tensor) -> Tensor:
        return ifft2c(self.mask[..., None, :, :] ** 2 * fft2c(x))

    def measured_fraction(self) -> Tensor:
        return (self.mask**2).mean(dim=(-2, -1))

    def observed(self) -> Tensor:
        return (self.mask[..., None, :, :] != 0).expand(*self.batch, *self.range.shape)

    def cartesian(self) -> tuple[Tensor, Tensor] | None:
        if self.coils != 1:
            return None
        maps = torch.ones(*self.batch, 1, *self.domain.shape, dtype=self.dtype, device=self.mask.device)
        return maps, self.mask

    def without(self, there: Tensor) -> FourierMask:
        return replace(self, mask=self.mask * ~there)

    def stacked(self, others: Sequence[FourierMask]) -> FourierMask:
        return FourierMask(torch.stack([self.mask, *(A.mask for A in others)]), self.dtype, self.coils)

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        item = (..., None, None, None)
        diagonal = weight[item] * self.mask[..., None, :, :] ** 2 + shift[item]
        return item_solution(ifft2c(fft2c(rhs) / diagonal), self.domain.ndim)
