"""Mask, coil maps and noise scan that the user gives, instead of drawn, estimated or read ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io import sha256_of
from mrunfold.io.arrays import energy_spread, read_part
from mrunfold.io.scan import Grid, Header
from mrunfold.masks import Mask, calibration_region

__all__ = ["Own", "OwnParts", "mask_of", "resolve"]

MASK_NAMES, MAP_NAMES = ("mask", "M"), ("maps", "sens", "sensitivities", "coil_maps", "smaps", "csm")
NOISE_NAMES = ("noise", "noise_scan")

WIDE, NARROW = 16, 0.08  # pixels of an axis; of it that holds the energy of k-space


@dataclass(frozen=True)
class Own:
    """Files or arrays as the user names them, None for nothing: see `resolve` for their axes."""

    mask: Path | np.ndarray | Mask | None = None
    maps: Path | np.ndarray | None = None
    noise: Path | np.ndarray | None = None


@dataclass(frozen=True)
class OwnParts:
    """The same in the project's axes; noise: (coil, samples).

    maps: (slice, set, coil, readout, phase), of every image, or of one frame's slices, or of one for all; of
    a 3-D scan those of one volume's slices.

    record: what the run record says of them: shapes, and names and sha256 of files.
    """

    mask: Mask | None = None
    maps: np.ndarray | None = None
    noise: np.ndarray | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def maps_of(self, header: Header, index: int) -> np.ndarray | None:
        """Return the maps of image `index`, (set, coil, readout, phase), or None."""
        if self.maps is None or len(self.maps) == 1:
            return None if self.maps is None else self.maps[0]
        if header.grid is not None:
            return self.maps[index % len(self.maps)]
        if header.frames is not None and len(self.maps) == header.places:
            return self.maps[header.frames.place[index]]
        return self.maps[index]


def resolve(own: Own, header: Header) -> OwnParts:
    """Return the parts for a scan of `header`, read where they are files.

    mask: (phase,) or (readout, phase) of zeros and ones; maps: (coil, readout, phase), before it sets, slices
    or (slice, set), or BART's (readout, phase, 1, coil, set); of a 3-D scan (coil, readout, phase,
    partition), sets before it, or BART's (readout, phase, partition, coil, set), or as they are saved,
    (partition, set, coil, readout, phase), and its mask (phase, partition); noise: (coil, samples).
    Readouts with or without oversampling.  Raises InputError for other shapes and for files that cannot be
    read.
    """
    record: dict[str, Any] = {}

    def taken(part: Path | np.ndarray, what: str, names: Sequence[str]) -> np.ndarray:
        array = read_part(part, what, names) if isinstance(part, Path) else np.asarray(part)
        record[what] = {"shape": list(array.shape)}
        if isinstance(part, Path):
            record[what] |= {"file": part.name, "sha256": sha256_of(part)}
        return array

    mask = own.mask
    if mask is not None and not isinstance(mask, Mask):
        mask = mask_of(taken(mask, "mask", MASK_NAMES), header)
    maps = None if own.maps is None else taken(own.maps, "maps", MAP_NAMES)
    if maps is not None:
        _refuse_kspace(maps)
        maps = _maps(maps, header) if header.grid is None else _volume_maps(maps, header.coils, header.grid)
    noise = None if own.noise is None else _noise(taken(own.noise, "noise", NOISE_NAMES), header)
    return OwnParts(mask, maps, noise, record)


def _refuse_kspace(maps: np.ndarray) -> None:
    """Refuse maps whose energy lies about one place of two axes: k-space is so, sensitivities are spread."""
    wide = np.array(maps.shape) >= WIDE
    if maps.dtype.kind == "c" and (wide & (energy_spread(maps) < NARROW)).sum() >= 2:
        raise InputError(
            f"the maps {maps.shape} seem to be k-space: nearly all their energy lies at one place; give coil "
            "sensitivities, in image space, or leave them out to have them estimated"
        )


def mask_of(array: np.ndarray, header: Header) -> Mask:
    """Return a user's mask, (phase,) or (readout, phase), as a Mask of kind `given`."""
    if array.ndim > 2 and array[0].ndim == 2 and (array == array[0]).all():
        array = array[0]  # one mask for all slices
    array = np.squeeze(array) if array.ndim > 2 else array
    phase, heights = header.matrix[1], {header.matrix[0], header.unoversampled}
    axes = "readout × phase" if header.output is None else "phase × partition"
    if array.ndim == 1 or (array.ndim == 2 and array.shape[0] == 1):
        array = np.broadcast_to(array.reshape(1, -1), (header.unoversampled, array.size))
    if array.ndim != 2 or array.shape[1] != phase or array.shape[0] not in heights:
        turned = array.ndim == 2 and array.shape[0] == phase and array.shape[1] in heights
        raise InputError(
            f"the mask is {array.shape} and k-space {header.matrix[0]}×{phase} ({axes})"
            + ("; it is transposed" if turned else f"; give {phase} lines, or one of that size")
        )
    if array.dtype.kind not in "biufc" or not np.isin(array, (0, 1)).all():
        raise InputError(f"a mask has only zeros and ones; this one, of {array.dtype}, has other values")
    kept = array != 0
    return Mask(kept, "given", None, calibration_region(kept))


def _maps(array: np.ndarray, header: Header) -> np.ndarray:
    """Return maps (slice or 1, set, coil, readout, phase) of an array; its sizes tell which axis is which."""
    if array.dtype.kind != "c":
        raise InputError(f"coil maps are complex, got {array.dtype} {array.shape}")
    coils, phase = header.coils, header.matrix[1]
    heights, slices = {header.matrix[0], header.unoversampled}, {header.places, header.slices}
    if header.trajectory is not None:
        heights, phase = {header.crop[0]}, header.crop[1]

    def fits(shape: tuple[int, ...]) -> bool:
        return len(shape) >= 3 and shape[-3] == coils and shape[-2] in heights and shape[-1] == phase

    found = []
    if fits(array.shape) and array.ndim <= 5:
        lead = array.shape[:-3]
        if lead == ():
            found.append(array[None, None])
        elif len(lead) == 1:
            found += [array[:, None]] if lead[0] in slices - {1} else []
            found += [array[None]] if lead[0] <= 2 else []
        elif lead[0] in {1} | slices:
            found.append(array)
    bart = array.reshape(array.shape + (1,) * (5 - array.ndim)) if array.ndim <= 5 else array
    if not found and bart.ndim == 5 and bart.shape[2] == 1 and fits((bart.shape[3], *bart.shape[:2])):
        found.append(bart[:, :, 0].transpose(3, 2, 0, 1)[None])
    if not found and array.ndim == 3 and fits((array.shape[2], *array.shape[:2])):
        found.append(array.transpose(2, 0, 1)[None, None])
    if len(found) != 1:
        raise InputError(
            f"the maps are {array.shape} and the scan has {header.places} slices, {coils} coils and k-space "
            f"{header.matrix[0]}×{phase}; give (coil, readout, phase), (set, coil, readout, phase) or "
            "(slice, set, coil, readout, phase)"
        )
    return found[0]


def _volume_maps(array: np.ndarray, coils: int, grid: Grid) -> np.ndarray:
    """Return maps (slice, set, coil, y, x) of the slices of a 3-D scan, of an array of the whole of it."""
    if array.dtype.kind != "c":
        raise InputError(f"coil maps are complex, got {array.dtype} {array.shape}")
    heights, (_, phase, partitions) = {grid.stored, grid.size[0]}, grid.size

    def fits(one: np.ndarray) -> bool:
        shape = one.shape[1:]
        return len(shape) == 4 and shape[1] in heights and shape == (coils, shape[1], phase, partitions)

    ways = [array.reshape((1,) * (5 - array.ndim) + array.shape)] if array.ndim in (4, 5) else []
    if array.ndim in (4, 5):  # BART's, of one set or several
        ways.append(array.reshape(array.shape + (1,) * (5 - array.ndim)).transpose(4, 3, 0, 1, 2))
    if array.ndim == 5:  # as `save` keeps them
        ways.append(np.moveaxis(array, 0, -1))
    found = [one for one in ways if fits(one)]
    if len(found) != 1:
        raise InputError(
            f"the maps are {array.shape} and the 3-D scan has {coils} coils and k-space "
            f"{grid.size[0]}×{phase}×{partitions} (readout × phase × partition); give (coil, readout, phase, "
            "partition), sets before it, or BART's (readout, phase, partition, coil, set)"
        )
    start = found[0].shape[2] // 2 - grid.size[0] // 2
    maps = found[0][:, :, start : start + grid.size[0]]  # (set, coil, readout, phase, partition)
    if grid.along == "readout":
        return np.moveaxis(maps, 2, 0)[grid.kept]
    return np.moveaxis(maps, 4, 0)[grid.kept]


def _noise(array: np.ndarray, header: Header) -> np.ndarray:
    array = np.squeeze(array)
    array = array[None] if array.ndim == 1 else array
    if array.ndim == 2 and array.shape[0] != header.coils and array.shape[1] == header.coils:
        array = array.T
    if array.ndim != 2 or array.shape[0] != header.coils or array.dtype.kind != "c":
        raise InputError(
            f"a noise scan is complex (coil, samples), {header.coils} coils here, got {array.dtype} "
            f"{array.shape}; give one number, the standard deviation, where all coils are alike"
        )
    return np.ascontiguousarray(array, dtype=np.complex64)
