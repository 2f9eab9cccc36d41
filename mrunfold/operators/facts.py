"""Properties of an operator that methods, problems and images use; the defaults are for no coils."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mrunfold.operators.space import Space, real_dtype

__all__ = ["Facts"]


class Facts(ABC):
    """Base class of LinearOperator: default properties, which an operator may override."""

    @property
    @abstractmethod
    def domain(self) -> Space: ...

    @property
    @abstractmethod
    def range(self) -> Space: ...

    @property
    @abstractmethod
    def batch(self) -> tuple[int, ...]: ...

    @abstractmethod
    def measured_fraction(self) -> Tensor: ...

    @abstractmethod
    def _check(self, x: Tensor, space: Space) -> None: ...

    @abstractmethod
    def _device(self) -> torch.device: ...

    def adjoint_noise(self, sigma_y: Tensor, fraction: Tensor | None = None) -> Tensor:
        """Return √E‖Aᴴn‖² = σ_y √tr(AᴴA) of noise n with σ_y² = E|n|², (*batch,) as sigma_y.

        fraction: `measured_fraction` where it is known already (*batch,).
        """
        fraction = self.measured_fraction() if fraction is None else fraction
        fraction = fraction.to(sigma_y).expand(sigma_y.shape)
        return sigma_y * (fraction * math.prod(self.domain.shape)).sqrt()

    def observed(self) -> Tensor:
        """Return where y is measured, bool (*batch, *range.shape); elsewhere it is 0, without noise."""
        shape = (*self.batch, *self.range.shape)
        return torch.ones(shape, dtype=torch.bool, device=self._device())

    def samples(self, y: Tensor) -> Tensor:
        """Return how many samples y (*batch, *range.shape) has (*batch,): those that are not 0."""
        return (y != 0).flatten(start_dim=y.ndim - self.range.ndim).sum(dim=-1)

    def coil_gain(self, mixing: Tensor | None = None) -> Tensor:
        """Return ‖coil images of x = 1‖ over coils and sets, real (*batch, 1, *domain.shape[1:]).

        |x| times it is the root sum of squares of the coil images.  mixing: complex (file coil, coil), what
        coil images are multiplied by first (`coils.unwhitening`).  Without coils it is 1, or ‖mixing‖.
        """
        shape = (*self.batch, 1, *self.domain.shape[1:])
        gain = torch.ones(shape, dtype=real_dtype(self.domain.dtype), device=self._device())
        return gain if mixing is None else gain * torch.linalg.vector_norm(mixing)

    def combine(self, images: Tensor) -> Tensor:
        """Return the image (*batch, *domain.shape) of coil images (*batch, coil, y, x); here, of one coil."""
        self._check(images, self.domain)
        return images

    def cartesian(self) -> tuple[Tensor, Tensor] | None:
        """Return maps (*batch, set, coil, y, x) and mask (*batch, y, x) of A = M F S; None for others."""
        return None

    def coil_maps(self) -> Tensor | None:
        """Return the sensitivities (*batch, set, coil, y, x) of an operator with coils, None of others."""
        found = self.cartesian()
        return None if found is None else found[0]

    @property
    def interleaved(self) -> bool:
        """Whether the axes of y are (coil, readout, interleaf), along a trajectory, not those of a grid."""
        return False

    def without(self, there: Tensor) -> Any | None:
        """Return this operator with nothing measured where `there`, bool (y, x); None if not of k-space."""
        return None

    def stacked(self, others: Sequence[Any]) -> Any | None:
        """Return one operator whose batch axis is this one and others of its kind, spaces and no batch.

        None, the default, where they have no common form: `operators.stack` then applies them one by one.
        """
        return None
