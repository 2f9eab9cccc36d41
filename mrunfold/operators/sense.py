"""Multicoil Cartesian sampling: coil sensitivities, Fourier transform, mask."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.coils import Coils, gain_of_maps
from mrunfold.operators.fourier import AXES, centring

__all__ = ["MOST_COILS", "Sense"]

# Coils at a time on a CPU, and twice as many coil images in all: with 32 a slice takes three times as long.
MOST_COILS = 4


@dataclass(frozen=True, eq=False, repr=False)
class Sense(LinearOperator):
    """y_c = M F Σ_s maps_sc x_s: x (*batch, set, y, x) → y (*batch, coil, y, x).

    maps: (*batch, set, coil, y, x) complex, with Σ_c |maps_sc|² ≤ 1 so that ‖A‖ ≤ 1 for one set;
    mask: (*batch, y, x) or broadcastable (1 along an axis that is fully sampled), real or bool;
    coil_chunk: coils worked on at a time, the same result whatever it is; by default 4 on a CPU, fewer in a
    batch, so that its caches hold the coil images (the rest as 2 and 1), and all of them elsewhere.
    Pruessmann et al., Magn. Reson. Med. 42 (1999), eq. 1; several sets as in Uecker et al.,
    Magn. Reson. Med. 71 (2014), eq. 20 (soft SENSE).
    """

    maps: Tensor
    mask: Tensor
    coil_chunk: int | None = None
    # The normal operator without shifts: FᴴM²F is a circular convolution, which commutes with the shifts
    # of the centred transform, so they cancel; only the mask must be laid out uncentred, once.
    _weights: Tensor = field(init=False)
    # Phases in place of the shifts where they do not cancel, and the mask with them.
    _phases: Tensor = field(init=False)
    _centred_mask: Tensor = field(init=False)
    # What real and imaginary parts are multiplied by: ×_weights, conjugated, in one real product.
    _conjugating: Tensor = field(init=False)
    axes: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.maps.ndim < 4 or not self.maps.is_complex():
            raise InputError(
                f"Sense expects complex maps (*batch, set, coil, y, x), got {tuple(self.maps.shape)} "
                f"{self.maps.dtype}; add the set axis with maps[None] if there is one set"
            )
        size = self.maps.shape[-2:]
        sampled = tuple(self.mask.shape[-2:])
        if len(sampled) < 2 or any(m not in (1, n) for m, n in zip(sampled, size, strict=True)):
            raise InputError(
                f"Sense has maps of {tuple(size)} and a mask of {tuple(self.mask.shape)}; "
                "the mask needs the size of the maps, or 1 along an axis that is fully sampled"
            )
        batches = {tuple(self.maps.shape[:-4]), tuple(self.mask.shape[:-2])} - {()}
        if len(batches) > 1:
            raise InputError(f"Sense has maps and mask of different batches: {sorted(batches)}")
        if self.coil_chunk is not None and self.coil_chunk < 1:
            raise InputError(f"coil_chunk is a number of coils ≥ 1 or None, got {self.coil_chunk}")
        mask = self.mask.to(self.maps.real.dtype)
        object.__setattr__(self, "mask", mask)
        full = mask.expand(*mask.shape[:-2], *size)
        # An axis along which the mask does not vary needs no transform in AᴴA: it is unitary there.
        axes = tuple(a for a in AXES if not bool((full == full.narrow(a, 0, 1)).all()))
        object.__setattr__(self, "axes", axes)
        phases = centring(tuple(size), self.maps.dtype, self.maps.device)
        object.__setattr__(self, "_phases", phases)
        object.__setattr__(self, "_centred_mask", mask[..., None, :, :] * phases)
        reduced = full
        for axis in AXES:
            if axis not in axes:
                reduced = reduced.narrow(axis, 0, 1)
        uncentred = torch.fft.ifftshift(reduced, dim=axes) if axes else reduced
        weights = (uncentred**2).contiguous()
        object.__setattr__(self, "_weights", weights)
        object.__setattr__(self, "_conjugating", torch.stack([weights, -weights], dim=-1)[..., None, :, :, :])

    @property
    def domain(self) -> Space:
        sets, _, y, x = self.maps.shape[-4:]
        return Space((sets, y, x), self.maps.dtype)

    @property
    def range(self) -> Space:
        _, coils, y, x = self.maps.shape[-4:]
        return Space((coils, y, x), self.maps.dtype)

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.maps.shape[:-4]) or tuple(self.mask.shape[:-2])

    def measured_fraction(self) -> Tensor:
        """Return the mean of mask² (*batch,): the sampled share of k-space, whatever the coils' support."""
        return self._weights.mean(dim=(-2, -1))

    def observed(self) -> Tensor:
        seen = (self.mask != 0)[..., None, :, :]
        return seen.expand(*self.batch, *self.range.shape)

    def coil_gain(self, mixing: Tensor | None = None) -> Tensor:
        return gain_of_maps(self.maps, mixing).expand(*self.batch, 1, *self.domain.shape[1:])

    def combine(self, images: Tensor) -> Tensor:
        return Coils(self.maps).adjoint(images)

    def cartesian(self) -> tuple[Tensor, Tensor]:
        size = self.maps.shape[-2:]
        maps = self.maps.expand(*self.batch, *self.maps.shape[-4:])
        return maps, self.mask.expand(*self.batch, *size)

    def in_virtual(self, mixing: Tensor) -> Sense:
        """Return the operator whose measurement is mixing · y, mixing complex (virtual, coil)."""
        maps = torch.einsum("vc,...scyx->...svyx", mixing.to(self.maps), self.maps)
        return replace(self, maps=maps)

    def without(self, there: Tensor) -> Sense:
        return replace(self, mask=self.mask * ~there)

    def stacked(self, others: Sequence[Sense]) -> Sense:
        every, size = (self, *others), self.domain.shape[-2:]
        masks = torch.stack([A.mask.expand(size) for A in every])
        return Sense(torch.stack([A.maps for A in every]), masks, self.coil_chunk)

    def chunks(self) -> list[slice]:
        """Return which coils are worked on at a time."""
        coils = self.maps.shape[-3]
        if self.coil_chunk is None and self.maps.device.type == "cpu":
            # An odd number of transforms leaves one of two threads idle: 3 are as slow as 4.
            return _in_powers(coils, max(1, min(MOST_COILS, 2 * MOST_COILS // max(1, math.prod(self.batch)))))
        step = self.coil_chunk or coils
        return [slice(c, min(c + step, coils)) for c in range(0, coils, step)]

    def _expand(self, x: Tensor, maps: Tensor) -> Tensor:
        """Coil images Σ_s maps_sc x_s: (*batch, set, y, x) → (*batch, coil, y, x)."""
        if maps.shape[-4] == 1:
            return maps[..., 0, :, :, :] * x
        return (maps * x[..., :, None, :, :]).sum(dim=-4)

    def _combine(self, conjugates: Tensor, maps: Tensor) -> Tensor:
        """Σ_c maps_sc conjugates_c, of conjugate coil images: (*batch, coil, y, x) → (*batch, set, y, x).

        Its conjugate is Σ_c conj(maps_sc) images_c.  So the maps are read from memory once for `_expand` and
        here, where conjugate maps would be another array or a copy for every product.
        """
        conjugates = conjugates[..., None, :, :, :]
        total = maps[..., 0, :, :] * conjugates[..., 0, :, :]
        # Coil by coil in place: one pass over the images, where a product and its sum would take two.
        for c in range(1, maps.shape[-3]):
            total.addcmul_(maps[..., c, :, :], conjugates[..., c, :, :])
        return total

    def _forward(self, x: Tensor) -> Tensor:
        x = self._phases * x
        parts = []
        for c in self.chunks():
            k = torch.fft.fft2(self._expand(x, self.maps[..., c, :, :]), norm="ortho")
            parts.append(k.mul_(self._centred_mask))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-3)

    def _adjoint(self, y: Tensor) -> Tensor:
        def part(c: slice) -> Tensor:
            # The conjugate of an inverse FFT is the FFT of the conjugate.
            k = torch.conj_physical(y[..., c, :, :]).mul_(self._centred_mask)
            return self._combine(torch.fft.fft2(k, norm="ortho"), self.maps[..., c, :, :])

        return (_total(part(c) for c in self.chunks()) * self._phases).conj_physical_()

    def _normal(self, x: Tensor) -> Tensor:
        def part(c: slice) -> Tensor:
            maps = self.maps[..., c, :, :]
            images = self._expand(x, maps)
            k = torch.fft.fftn(images, dim=self.axes, norm="ortho") if self.axes else images
            torch.view_as_real(k).mul_(self._conjugating)
            conjugates = torch.fft.fftn(k, dim=self.axes, norm="ortho") if self.axes else k
            return self._combine(conjugates, maps)

        return _total(part(c) for c in self.chunks()).conj_physical_()


def _in_powers(number: int, most: int) -> list[slice]:
    """Return slices of 0 to `number`, of `most` each as long as it can be, the rest by halves of it."""
    slices, begin = [], 0
    while begin < number:
        while begin + most > number:
            most //= 2
        slices.append(slice(begin, begin + most))
        begin += most
    return slices


def _total(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
