"""ESPIRiT maps of a 3-D scan, slice by slice: one calibration, one phase reference for the whole volume."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from mrunfold.coils.eigenmaps import covariance_kernels, eigen_maps, kernels_at
from mrunfold.coils.espirit import EspiritSettings
from mrunfold.coils.phase import OBJECT, common_reference, turned
from mrunfold.coils.sets import needed_sets
from mrunfold.errors import InputError
from mrunfold.operators import ifft2c

__all__ = ["VolumeMaps"]

log = logging.getLogger(__name__)

MOST_TAPS = 2048  # coils · k³, the side of a matrix whose eigenvectors are found
LEAST_WIDTH = 3
PLACES = 9  # slices that are looked at for the number of sets and the phase
GRID = 48  # places an axis within them
FAINT = 0.05  # of the energy of the strongest: a slice with less has no say


class VolumeMaps:
    """Coil maps of the slices of a 3-D scan, from its calibration region (coil, d, h, w).

    block: also (frame, coil, d, h, w) of several frames, that which holds most first; d runs across the
    slices; size: (slices, y, x) of the images; settings: as of `espirit_maps`, the kernel k×k×k, narrower
    where coils·k³ were above 2048.  Kernels in three dimensions make maps that are smooth
    from slice to slice, and all are turned by one combination of the coils (`smooth_phase`), so that phase
    and number of sets are those of the volume.  Raises InputError for SigPy's maps, which are 2-D.
    """

    def __init__(self, block: np.ndarray, size: tuple[int, int, int], settings: EspiritSettings) -> None:
        if settings.backend != "torch":
            raise InputError("SigPy makes maps of 2-D scans only; take the maps of torch for a 3-D scan")
        self._size, self._settings = size, settings
        blocks = block if block.ndim == 5 else block[None]
        self._blocks = blocks / np.abs(blocks[0]).max()
        self._block = self._blocks[0]
        k = settings.kernel_width
        while k > LEAST_WIDTH and len(self._block) * k**3 > MOST_TAPS:
            k -= 1
        self.widths = tuple(min(k, n) for n in self._block.shape[1:])
        self._kernels = covariance_kernels(self._window(), self.widths, settings.threshold)
        images = [self._images(place) for place in self._places()]
        energy = [float(image.abs().square().sum()) for image in images]
        strong = [i for i, e in enumerate(energy) if e > FAINT * max(energy)]
        places = [self._places()[i] for i in strong]
        self.sets = self._needed(places) if settings.sets == "auto" else settings.sets
        self._references = self._phases(places, [images[i] for i in strong])

    def _places(self) -> list[int]:
        count = min(self._size[0], PLACES)
        return [int((i + 0.5) * self._size[0] / count) for i in range(count)]

    def _window(self) -> Tensor:
        """Return the blocks with zeros around sides that are thin, see `EspiritSettings`."""
        sides = [
            n if k < self._settings.kernel_width and n <= k else max(n, self._settings.pad_below)
            for n, k in zip(self._block.shape[1:], self.widths, strict=True)
        ]
        window = np.zeros((*self._blocks.shape[:2], *sides), np.complex64)
        middle = (
            slice(n // 2 - m // 2, n // 2 - m // 2 + m)
            for n, m in zip(sides, self._block.shape[1:], strict=True)
        )
        window[(slice(None), slice(None), *middle)] = self._blocks
        return torch.from_numpy(window)

    def _at(self, place: int) -> np.ndarray:
        """Return the calibration region of a slice, (coil, h, w): the block transformed across the slices."""
        depth, count = self._block.shape[1], self._size[0]
        angle = 2j * np.pi * (np.arange(depth) - depth // 2) * (place - count // 2) / count
        return np.einsum("cdhw,d->chw", self._block, np.exp(angle)).astype(np.complex64)

    def _images(self, place: int) -> Tensor:
        """Return low-resolution coil images of a slice (coil, GRID, GRID)."""
        block = self._at(place)
        window = np.zeros((len(block), GRID, GRID), np.complex64)
        own = [min(n, GRID) for n in block.shape[1:]]
        there, from_ = (
            tuple(slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(sides, own, strict=True))
            for sides in ((GRID, GRID), block.shape[1:])
        )
        window[:, there[0], there[1]] = block[:, from_[0], from_[1]]
        return ifft2c(torch.from_numpy(window))

    def _needed(self, places: list[int]) -> int:
        crop, count = self._settings.further_crop, self._size[0]
        return max(needed_sets(kernels_at(self._kernels, p, count), self._at(p), crop) for p in places)

    def _phases(self, places: list[int], images: list[Tensor]) -> list[np.ndarray]:
        """Return the combination of the coils that is real, of each set, from maps within the object."""
        found = []
        for place in places:
            kernels = kernels_at(self._kernels, place, self._size[0])
            found.append(eigen_maps(kernels, (GRID, GRID), self.sets)[0].numpy())
        maps = np.stack(found, axis=2)  # (set, coil, place, y, x)
        bright = np.stack([np.linalg.norm(image.numpy(), axis=0) for image in images])
        seen = (maps[0] * (bright > OBJECT * bright.max())).reshape(len(self._block), -1)
        references = [common_reference(self._block, seen, seen[:, ::16])]
        for further in maps[1:]:
            flat = further.reshape(len(self._block), -1)
            references.append(np.linalg.eigh(flat @ flat.conj().T)[1][:, -1])
        return references

    def maps(self, place: int) -> np.ndarray:
        """Return the maps of a slice, complex64 (set, coil, y, x), Σ_c |s_c|² = 1 or 0; zero where empty."""
        shape = self._size[1], self._size[2]
        kernels = kernels_at(self._kernels, place, self._size[0])
        maps, value = (part.numpy() for part in eigen_maps(kernels, shape, self.sets))
        for number, reference in enumerate(self._references):
            crop = self._settings.crop if number == 0 else self._settings.further_crop
            inside = (value[number] > crop) & np.isfinite(maps[number]).all(axis=0)
            maps[number] = np.where(inside, turned(maps[number], reference), 0)
        return maps
