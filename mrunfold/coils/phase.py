"""The phase of coil maps: which coil combination is real, in every pixel."""

from __future__ import annotations

import numpy as np
import torch

from mrunfold.operators import ifft2c

__all__ = ["OBJECT", "common_reference", "smooth_phase", "turned"]

GRID = 64  # places an axis at which combinations are judged
APART = 4  # every so many of them is a candidate
OBJECT = 0.2  # of the brightest place of the calibration image
VANISHING = 0.1  # of a map's norm

Array = np.ndarray


def smooth_phase(maps: Array, block: Array) -> Array:
    """Return maps (coil, y, x) turned in each pixel so that one combination of the coils, vᴴs, is real.

    block: the calibration region (coil, h, w) that the maps come from.  v is the principal component of its
    coils, as in BART's ecalib.  With a ring of coils, vᴴs may be zero in the middle of the head, and
    the phase of the image would wind around that point.  So if |vᴴs| < 0.1 |s| somewhere in the object, v is
    instead the map of one pixel of the object: the one whose |vᴴs| has the largest minimum over the object.
    """
    seen = _object_maps(maps, block)
    candidates = seen[:, ::APART, ::APART].reshape(len(maps), -1)
    return turned(maps, common_reference(block, seen.reshape(len(maps), -1), candidates))


def common_reference(block: Array, seen: Array, candidates: Array) -> Array:
    """Return v (coil,) of `smooth_phase`: the principal component of `block` (coil, …), or a candidate.

    seen, candidates: maps at places of the object (coil, place), 0 elsewhere.
    """
    data = block.reshape(len(block), -1).astype(np.complex128)
    principal: Array = np.linalg.eigh(data @ data.conj().T)[1][:, -1]
    if not seen.size or _least(principal[:, None], seen)[0] >= VANISHING:
        return principal
    candidates = candidates[:, np.abs(candidates).any(axis=0)]
    return candidates[:, _least(candidates, seen).argmax()] if candidates.size else principal


def turned(maps: Array, reference: Array) -> Array:
    """Return maps (coil, …) turned so that the combination `reference` (coil,) of them is real."""
    projection = np.tensordot(reference.conj().astype(np.complex64), maps, axes=1)
    size = np.abs(projection)
    turn = np.divide(projection.conj(), size, out=np.ones_like(projection), where=size > 0)
    return maps * turn


def _least(combinations: Array, seen: Array) -> Array:
    """Return the least |vᴴs|/(|v||s|) of each v (coil, n) over the maps s (coil, place) that are not 0."""
    size = np.linalg.norm(seen, axis=0)
    there = seen[:, size > 0] / size[size > 0]
    if not there.size:
        return np.ones(combinations.shape[1])
    overlap = np.abs(combinations.conj().T @ there)
    return (overlap / np.linalg.norm(combinations, axis=0)[:, None]).min(axis=1)


def _object_maps(maps: Array, block: Array) -> Array:
    """Return the maps at places of a grid (coil, gy, gx), 0 where the calibration image shows no object."""
    sides = [min(GRID, n) for n in maps.shape[1:]]
    window = np.zeros((len(block), *sides), np.complex64)
    parts = []
    for n, m in zip(sides, block.shape[1:], strict=True):
        half = min(n, m) // 2
        parts.append((slice(n // 2 - half, n // 2 + half), slice(m // 2 - half, m // 2 + half)))
    (wy, by), (wx, bx) = parts
    window[:, wy, wx] = block[:, by, bx]
    image = ifft2c(torch.from_numpy(window)).numpy()
    bright = np.sqrt((np.abs(image) ** 2).sum(axis=0))
    places = [
        np.clip(np.rint((np.arange(m) - m // 2) * n / m).astype(int) + n // 2, 0, n - 1)
        for n, m in zip(maps.shape[1:], sides, strict=True)
    ]
    return maps[:, places[0][:, None], places[1]] * (bright > OBJECT * bright.max())
