"""Coil sensitivities as an operator of their own, so that `FourierMask @ Coils` is SENSE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator
from mrunfold.operators.space import Space

__all__ = ["Coils", "gain_of_maps"]


@dataclass(frozen=True, eq=False, repr=False)
class Coils(LinearOperator):
    """c = Σ_s maps_s x_s: x (*batch, set, y, x) → coil images (*batch, coil, y, x).

    maps: (*batch, set, coil, y, x) complex.  `FourierMask(mask, coils=n) @ Coils(maps)` is y = M F S x
    (Pruessmann et al. (1999), eq. 1); `Sense` is the same map in its fast form.
    """

    maps: Tensor

    def __post_init__(self) -> None:
        if self.maps.ndim < 4 or not self.maps.is_complex():
            raise InputError(
                f"Coils expects complex maps (*batch, set, coil, y, x), got {tuple(self.maps.shape)} "
                f"{self.maps.dtype}; add the set axis with maps[None] if there is one set"
            )

    @property
    def domain(self) -> Space:
        sets, _, y, x = self.maps.shape[-4:]
        return Space((sets, y, x), self.maps.dtype)

    @property
    def range(self) -> Space:
        return Space(tuple(self.maps.shape[-3:]), self.maps.dtype)

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(self.maps.shape[:-4])

    def _forward(self, x: Tensor) -> Tensor:
        return (self.maps * x[..., :, None, :, :]).sum(dim=-4)

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self.maps.conj() * y[..., None, :, :, :]).sum(dim=-3)

    def measured_fraction(self) -> Tensor:
        """Return the mean over sets and pixels of Σ_c |maps_sc|² (*batch,)."""
        return self.maps.abs().square().sum(dim=-3).mean(dim=(-3, -2, -1))

    def coil_gain(self, mixing: Tensor | None = None) -> Tensor:
        return gain_of_maps(self.maps, mixing)

    def combine(self, images: Tensor) -> Tensor:
        return self.adjoint(images)

    def stacked(self, others: Sequence[Coils]) -> Coils:
        return Coils(torch.stack([self.maps, *(A.maps for A in others)]))


def gain_of_maps(maps: Tensor, mixing: Tensor | None = None) -> Tensor:
    """Return ‖mixing · maps‖ over sets and coils: maps (*batch, set, coil, y, x) → real (*batch, 1, y, x)."""
    if mixing is not None:
        maps = torch.einsum("dc,...scyx->...sdyx", mixing, maps)
    images = maps.flatten(-4, -3)
    # vector_norm over such axes takes seven times as long.
    return (images.real.square() + images.imag.square()).sum(dim=-3, keepdim=True).sqrt()
