"""Downsampling: a circular blur of which every s-th pixel is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.fourier import AXES, item_solution
from mrunfold.operators.imaging.blur import check_kernel, transfer

__all__ = ["Downsample"]


@dataclass(frozen=True, eq=False, repr=False)
class Downsample(LinearOperator):
    """y = S (k ∗ x): x (*batch, channel, y, x) → (*batch, channel, y/factor, x/factor).

    kernel: (*batch, y, x) real; its middle lies on the middle of each factor×factor block of pixels, so its
    sides are of the factor's parity (bicubic_kernel, box_kernel); borders wrap around; shape: (channel, y,
    x) of an image, y and x multiples of the factor.  `solve` is closed-form: A Aᴴ is a circular blur of the
    small image.  Zhao et al., IEEE TIP 25 (2016), sec. III.
    """

    kernel: Tensor
    factor: int
    shape: tuple[int, int, int]
    _transfer: Tensor = field(init=False)
    _gain: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_kernel("Downsample", self.kernel, self.shape)
        sides, s = tuple(self.kernel.shape[-2:]), self.factor
        if s < 1 or any(n % s for n in self.shape[1:]):
            raise InputError(
                f"Downsample by {s} needs heights and widths that are multiples of it, got "
                f"{tuple(self.shape[1:])}; crop the image"
            )
        if any((k - s) % 2 for k in sides):
            raise InputError(
                f"Downsample by {s} needs a kernel whose sides are {'odd' if s % 2 else 'even'}, "
                f"got {sides}; sample the kernel so"
            )
        centre = ((sides[0] + s) // 2 - 1, (sides[1] + s) // 2 - 1)
        values = transfer(self.kernel, self._size, centre)[..., None, :, :]
        object.__setattr__(self, "_transfer", values)
        # A Aᴴ is a circular blur of the small image: the kernel's autocorrelation, of which S keeps a part.
        spread = torch.fft.irfft2(values.abs().square(), s=self._size)[..., ::s, ::s]
        object.__setattr__(self, "_gain", torch.fft.rfft2(spread).real)

    @property
    def domain(self) -> Space:
        return Space(tuple(self.shape), self.kernel.dtype)

    @property
    def range(self) -> Space:
        return Space((self.shape[0], *self._small), self.kernel.dtype)

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.kernel.shape[:-2])

    @property
    def _size(self) -> tuple[int, int]:
        return self.shape[1], self.shape[2]

    @property
    def _small(self) -> tuple[int, int]:
        return self.shape[1] // self.factor, self.shape[2] // self.factor

    def _forward(self, x: Tensor) -> Tensor:
        blurred = torch.fft.irfft2(self._transfer * torch.fft.rfft2(x), s=self._size)
        return blurred[..., :: self.factor, :: self.factor].contiguous()

    def _adjoint(self, y: Tensor) -> Tensor:
        z = y.new_zeros(*y.shape[:-2], *self._size)
        z[..., :: self.factor, :: self.factor] = y
        return torch.fft.irfft2(self._transfer.conj() * torch.fft.rfft2(z), s=self._size)

    def measured_fraction(self) -> Tensor:
        return self.kernel.square().sum(dim=AXES) / self.factor**2

    def _solve(self, rhs, weight, shift, x0, tolerance, steps):
        # (w AᴴA + δ)⁻¹ = (1 − w Aᴴ (w AAᴴ + δ)⁻¹ A) / δ; AAᴴ is diagonal in the small image's frequencies.
        w, delta = weight[..., None, None, None], shift[..., None, None, None]
        small = torch.fft.rfft2(self._forward(rhs)) * w / (w * self._gain + delta)
        return item_solution((rhs - self._adjoint(torch.fft.irfft2(small, s=self._small))) / delta, 3)
