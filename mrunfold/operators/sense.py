"""Multicoil Cartesian sampling: coil sensitivities, Fourier transform, mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.fourier import AXES, fft2c, ifft2c

__all__ = ["Sense"]


@dataclass(frozen=True, eq=False, repr=False)
class Sense(LinearOperator):
    """y_c = M F Σ_s maps_sc x_s: x (*batch, set, y, x) → y (*batch, coil, y, x).

    maps: (*batch, set, coil, y, x) complex, with Σ_c |maps_sc|² ≤ 1 so that ‖A‖ ≤ 1 for one set;
    mask: (*batch, y, x) or broadcastable (1 along an axis that is fully sampled), real or bool;
    coil_chunk: coils worked on at a time, the same result whatever it is; by default 4 on a CPU, whose caches
    then hold the coil images, and all of them elsewhere.
    Pruessmann et al., Magn. Reson. Med. 42 (1999), eq. 1; several sets as in Uecker et al.,
    Magn. Reson. Med. 71 (2014), eq. 20 (soft SENSE).
    """

    maps: Tensor
    mask: Tensor
    coil_chunk: int | None = None
    # The normal operator without shifts: FᴴM²F is a circular convolution, which commutes with the shifts
    # of the centred transform, so they cancel; only the mask must be laid out uncentred, once.
    _weights: Tensor = field(init=False)
    _axes: tuple[int, ...] = field(init=False)
    # Laid out once: PyTorch would conjugate a copy of the maps for every product.
    _conjugate: Tensor = field(init=False)

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
        object.__setattr__(self, "_axes", axes)
        reduced = full
        for axis in AXES:
            if axis not in axes:
                reduced = reduced.narrow(axis, 0, 1)
        uncentred = torch.fft.ifftshift(reduced, dim=axes) if axes else reduced
        object.__setattr__(self, "_weights", (uncentred**2).contiguous())
        object.__setattr__(self, "_conjugate", self.maps.conj().resolve_conj())

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

    def _chunks(self) -> list[slice]:
        coils = self.maps.shape[-3]
        step = self.coil_chunk or (4 if self.maps.device.type == "cpu" else coils)
        return [slice(c, min(c + step, coils)) for c in range(0, coils, step)]

    def _expand(self, x: Tensor, maps: Tensor) -> Tensor:
        """Coil images Σ_s maps_sc x_s: (*batch, set, y, x) → (*batch, coil, y, x)."""
        if maps.shape[-4] == 1:
            return maps[..., 0, :, :, :] * x
        return (maps * x[..., :, None, :, :]).sum(dim=-4)

    def _combine(self, images: Tensor, conjugate: Tensor) -> Tensor:
        """Σ_c conj(maps_sc) images_c: (*batch, coil, y, x) → (*batch, set, y, x)."""
        images = images[..., None, :, :, :]
        total = conjugate[..., 0, :, :] * images[..., 0, :, :]
        # Coil by coil in place: one pass over the images, where a product and its sum would take two.
        for c in range(1, conjugate.shape[-3]):
            total.addcmul_(conjugate[..., c, :, :], images[..., c, :, :])
        return total

    def _forward(self, x: Tensor) -> Tensor:
        mask = self.mask[..., None, :, :]
        parts = [mask * fft2c(self._expand(x, self.maps[..., c, :, :])) for c in self._chunks()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-3)

    def _adjoint(self, y: Tensor) -> Tensor:
        mask = self.mask[..., None, :, :]
        return _total(
            self._combine(ifft2c(mask * y[..., c, :, :]), self._conjugate[..., c, :, :])
            for c in self._chunks()
        )

    def _normal(self, x: Tensor) -> Tensor:
        weights = self._weights[..., None, :, :]

        def part(c: slice) -> Tensor:
            maps = self.maps[..., c, :, :]
            images = self._expand(x, maps)
            if self._axes:
                k = torch.fft.fftn(images, dim=self._axes, norm="ortho")
                k *= weights
                images = torch.fft.ifftn(k, dim=self._axes, norm="ortho")
            else:
                images = images * weights
            return self._combine(images, self._conjugate[..., c, :, :])

        return _total(part(c) for c in self._chunks())


def _total(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
