"""Multicoil sampling off the grid: coil sensitivities and a non-uniform Fourier transform."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space
from mrunfold.operators.coils import Coils, gain_of_maps

__all__ = ["Nufft"]

# FINUFFT's tolerance by the precision of k-space: rounding is as large.
TOLERANCE = {torch.complex64: 1e-6, torch.complex128: 1e-14}


@dataclass(frozen=True, eq=False, repr=False)
class Nufft(LinearOperator):
    """y_cj = √w_j/√N Σ_s Σ_r maps_sc(r) x_s(r) exp(−2πi k_j·r): x (*batch, set, y, x) → y (*batch, coil, *m).

    maps: (set, coil, y, x) complex, Σ_c |maps_sc|² ≤ 1; trajectory: (*m, 2) real, (ky, kx) in cycles per
    field of view of the maps, so that a fully sampled matrix reaches from −n/2 to n/2; weights: (*m,) real
    ≥ 0, what each sample counts, 1 for all where None; a sample of weight 0 is not measured.  r is the
    pixel's index from n//2 over n.  With weights that compensate the density (mrunfold.coils.trajectory)
    ‖A‖² is 1, as for `Sense`, where samples are dense, and below 2 elsewhere.

    The transform is FINUFFT's (Barnett et al., SIAM J. Sci. Comput. 41 (2019)), on the CPU; a tensor of
    another device goes there and back.  AᴴA, which iterations are made of, is a convolution in torch on the
    tensor's own device: two FFTs of the doubled grid a coil (Fessler et al., IEEE Trans. Signal Process. 53
    (2005)).  Pruessmann et al., Magn. Reson. Med. 46 (2001).
    """

    maps: Tensor
    trajectory: Tensor
    weights: Tensor | None = None
    _spectrum: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or not self.maps.is_complex():
            raise InputError(
                f"Nufft expects complex maps (set, coil, y, x), got {tuple(self.maps.shape)} "
                f"{self.maps.dtype}; add the set axis with maps[None] if there is one set"
            )
        if self.trajectory.ndim < 2 or self.trajectory.shape[-1] != 2 or self.trajectory.is_complex():
            raise InputError(
                f"Nufft expects a real trajectory (…, 2) of (ky, kx), got {tuple(self.trajectory.shape)} "
                f"{self.trajectory.dtype}; move the axis of coordinates to the end"
            )
        samples = tuple(self.trajectory.shape[:-1])
        real = self.maps.real.dtype
        weights = self.maps.new_ones(samples, dtype=real) if self.weights is None else self.weights.to(real)
        if tuple(weights.shape) != samples or bool((weights < 0).any()):
            raise InputError(
                f"weights are (…) ≥ 0, one for each of {samples} samples, got {tuple(weights.shape)}"
            )
        farthest = float((self.trajectory.abs() * (weights > 0)[..., None]).max())
        if not farthest <= max(self.maps.shape[-2:]):
            raise InputError(
                f"the trajectory reaches {farthest:g} cycles per field of view and the matrix is "
                f"{tuple(self.maps.shape[-2:])}; give k in cycles per field of view, from −n/2 to n/2"
            )
        object.__setattr__(self, "trajectory", self.trajectory.to(device=self.maps.device, dtype=real))
        object.__setattr__(self, "weights", weights.to(self.maps.device))
        object.__setattr__(self, "_spectrum", self._transfer())

    @property
    def domain(self) -> Space:
        sets, _, y, x = self.maps.shape
        return Space((sets, y, x), self.maps.dtype)

    @property
    def range(self) -> Space:
        return Space((self.maps.shape[1], *self.trajectory.shape[:-1]), self.maps.dtype)

    def measured_fraction(self) -> Tensor:
        """Return Σ_j w_j / N: with density compensation the share of k-space's cells that are sampled."""
        return self._w.sum() / math.prod(self.maps.shape[-2:])

    def samples(self, y: Tensor) -> Tensor:
        """Return Σ w over the samples of each item that are not 0: how many of weight 1 they are worth."""
        return ((y != 0) * self._w).flatten(start_dim=y.ndim - self.range.ndim).sum(dim=-1)

    def observed(self) -> Tensor:
        return (self._w > 0).expand(self.range.shape)

    def coil_gain(self, mixing: Tensor | None = None) -> Tensor:
        return gain_of_maps(self.maps, mixing)

    def combine(self, images: Tensor) -> Tensor:
        return Coils(self.maps).adjoint(images)

    @property
    def interleaved(self) -> bool:
        return True

    def without(self, there: Tensor) -> Nufft:
        return replace(self, weights=self._w * ~there)

    def coil_maps(self) -> Tensor:
        return self.maps

    @property
    def _w(self) -> Tensor:
        assert self.weights is not None  # set in __post_init__
        return self.weights

    def _points(self) -> tuple[np.ndarray, ...]:
        """Return 2π k/n of the samples that count, one array an axis."""
        radians = self.trajectory[self._w > 0].cpu() * self._w.new_tensor(
            [2 * math.pi / n for n in self.maps.shape[-2:]], device="cpu"
        )
        return tuple(np.ascontiguousarray(part) for part in radians.T.numpy())

    def _forward(self, x: Tensor) -> Tensor:
        import finufft

        images = (self.maps * x[..., :, None, :, :]).sum(dim=-4)
        batch, (coils, *samples) = images.shape[:-3], self.range.shape
        flat = np.ascontiguousarray(images.reshape(-1, *images.shape[-2:]).cpu().numpy())
        found = finufft.nufft2d2(*self._points(), flat, isign=-1, eps=TOLERANCE[x.dtype])
        counted = self._w > 0
        y = x.new_zeros(len(flat), *samples)
        y[:, counted] = torch.from_numpy(np.atleast_2d(found)).to(x) * (self._w[counted].sqrt() / self._root)
        return y.reshape(*batch, coils, *samples)

    def _adjoint(self, y: Tensor) -> Tensor:
        import finufft

        counted, (coils, *samples) = self._w > 0, self.range.shape
        batch = y.shape[: y.ndim - self.range.ndim]
        flat = y.reshape(-1, *samples)[:, counted] * (self._w[counted].sqrt() / self._root)
        size = tuple(self.maps.shape[-2:])
        given = np.ascontiguousarray(flat.cpu().numpy())
        found = finufft.nufft2d1(*self._points(), given, size, isign=1, eps=TOLERANCE[y.dtype])
        images = torch.from_numpy(found.reshape(*batch, coils, *size)).to(y)
        return (self.maps.conj() * images[..., None, :, :, :]).sum(dim=-3)

    def _normal(self, x: Tensor) -> Tensor:
        size = self.maps.shape[-2:]
        doubled = [2 * n for n in size]
        total = torch.zeros_like(x)
        # A coil at a time: the doubled grid of all of them would not stay in caches.
        for c in range(self.maps.shape[1]):
            maps = self.maps[:, c]
            k = torch.fft.fft2((maps * x).sum(dim=-3), s=doubled)
            image = torch.fft.ifft2(k.mul_(self._spectrum))[..., : size[0], : size[1]]
            total += maps.conj() * image[..., None, :, :]
        return total

    @property
    def _root(self) -> float:
        return math.sqrt(math.prod(self.maps.shape[-2:]))

    def _transfer(self) -> Tensor:
        """Return the spectrum, on the doubled grid, of h(d) = Σ_j w_j exp(2πi k_j·d)/N."""
        import finufft

        size = self.maps.shape[-2:]
        counted = self._w > 0
        if not bool(counted.any()):
            return self._w.new_zeros([2 * n for n in size])
        given = self._w[counted].to(self.maps.dtype).cpu().numpy()
        doubled = tuple(2 * n for n in size)
        h = finufft.nufft2d1(*self._points(), given, doubled, isign=1, eps=TOLERANCE[self.maps.dtype])
        h[0], h[:, 0] = 0, 0  # differences of n pixels, which no two have; without them h is Hermitian
        spectrum = torch.fft.fft2(torch.fft.ifftshift(torch.from_numpy(h))).real / math.prod(size)
        return spectrum.to(self.maps.device)
