"""Coil maps that the user brings, and those of a problem as the user may take them away."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mrunfold.coils.transform import CoilTransform
from mrunfold.errors import InputError

__all__ = ["file_maps", "white_maps"]


def white_maps(maps: np.ndarray, coils: CoilTransform, shape: tuple[int, int], stored: int) -> np.ndarray:
    """Return maps of the file's coils, (set, coil, y, x), as maps of whitened coils, Σ_c |s_c|² = 1 or 0.

    shape: (y, x) of the problem; stored: readout samples as stored: maps of that many rows are cut to the
    centre, as oversampling is.  Raises InputError for maps of other sizes, of NaN, or zero everywhere.
    """
    if maps.ndim != 4 or maps.shape[1] != len(coils.live) or maps.shape[3] != shape[1]:
        raise InputError(
            f"the maps are {maps.shape} and k-space ({len(coils.live)}, {shape[0]}, {shape[1]}); give maps "
            "(coil, readout, phase), or (set, coil, readout, phase), of the same coils and size"
        )
    if maps.shape[2] == stored != shape[0]:
        start = stored // 2 - shape[0] // 2
        maps = maps[:, :, start : start + shape[0]]
    if maps.shape[2] != shape[0]:
        raise InputError(f"the maps have {maps.shape[2]} rows and the image {shape[0]}; make them equal")
    if not np.isfinite(maps).all():
        raise InputError("the maps have NaN or infinite values; put zeros where they are not known")
    white = coils.apply(np.moveaxis(maps, 1, 0))  # (coil, set, y, x)
    norm = np.linalg.norm(white, axis=0)
    if not norm.any():
        raise InputError("the maps are zero everywhere; leave them out to have them estimated")
    inside = norm > 1e-6 * norm.max()
    scaled = np.divide(white, norm, out=np.zeros_like(white), where=np.broadcast_to(inside, white.shape))
    return np.ascontiguousarray(np.moveaxis(scaled, 0, 1), dtype=np.complex64)


def file_maps(maps: Tensor, unwhitening: Tensor, live: np.ndarray) -> np.ndarray:
    """Return maps (set, coil, y, x) of a problem as maps of the file's coils, Σ_c |s_c|² = 1 or 0.

    unwhitening: (live coil, coil); live: which of the file's coils are used, bool (coil,): others get zeros.
    """
    mixed = torch.einsum("dc,scyx->sdyx", unwhitening, maps).cpu().numpy()
    norm = np.linalg.norm(mixed, axis=1, keepdims=True)
    found = np.zeros((len(mixed), len(live), *mixed.shape[2:]), np.complex64)
    inside = np.broadcast_to(norm > 0, mixed.shape)
    found[:, live] = np.divide(mixed, norm, out=np.zeros_like(mixed), where=inside)
    return found
