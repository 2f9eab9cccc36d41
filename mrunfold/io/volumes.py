"""3-D scans as their files have them: k-space with two phase encodings, read in pieces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.scan import Header

if TYPE_CHECKING:
    from mrunfold.io.volume_centre import Look

__all__ = [
    "Piece",
    "VolumeSource",
    "blocks",
    "complete_region",
    "left_out_corners",
    "refuse_not_finite_volume",
]

CORNERS = 0.1  # of the density next to them: with less, the corners of k-space were left out
FEWEST = 8  # samples that the corners would have: with fewer nothing can be said
RING = 0.8  # of |k|: what lies next to the corners


@dataclass(frozen=True)
class Piece:
    """Part of a volume's k-space: complex64 (coil, readout, phase, partition), and where it lies."""

    coils: slice
    phases: slice
    partitions: slice
    kspace: np.ndarray


class VolumeSource(ABC):
    """3-D Cartesian k-space (coil, readout, phase, partition) of one or several volumes of one shape.

    header: of the images, slice = partition: `matrix` is (readout, phase) as stored, `crop` of the image,
    `slices` those of all volumes, one volume after the other; partitions: the second phase encoding's
    matrix, of whose image the middle slices are kept; echo: bool (readout,), samples of a readout that were
    acquired; limits: (first, one after the last) that a complete scan has, of phase and partition;
    loose: nothing says where the centre of k-space is; block: (coils, phases, partitions) of a piece at most.
    """

    path: Path
    header: Header
    partitions: int
    echo: np.ndarray
    limits: tuple[tuple[int, int], tuple[int, int]]
    block: tuple[int, int, int]
    loose: bool = False
    volumes: int = 1

    @abstractmethod
    def pieces(self, volume: int) -> Iterator[Piece]:
        """Yield a volume's k-space, all of it or what of it is not zero; InputError for NaN."""

    @abstractmethod
    def acquired(self, volume: int) -> np.ndarray:
        """Return what was acquired of a volume, bool (phase, partition)."""

    @abstractmethod
    def look(self, volume: int = 0) -> Look:
        """Return what the samples of a volume show of its centre; all of them need not be read."""

    def calibration(self, volume: int, width: int) -> np.ndarray | None:
        """Return k-space that only the coil maps are made of, (coil, readout, phase, partition), or None.

        It has the whole readout, and the fully sampled centre of both phase encodings, `width` at most.
        """
        return None

    def noise(self) -> np.ndarray | None:
        """Return the noise scan, complex64 (coil, samples), or None."""
        return None

    def noise_ratio(self, volume: int) -> float:
        """Return the noise of a volume over that of the noise scan, as `Scan.noise_ratio`."""
        return 1.0

    def number(self, volume: int) -> int:
        """Return which volume of the whole scan this is, as `Scan.number`."""
        return volume

    def refused(self, volumes: Iterable[int]) -> str | None:
        """Return why one of these volumes cannot be reconstructed, None where they all can."""
        return None

    def close(self) -> None:
        """Close the file, where one is kept open."""
        return None

    @property
    def kept(self) -> slice:
        """Which partitions of a volume's image are slices of the images that are written."""
        count = self.header.slices // self.volumes
        start = self.partitions // 2 - count // 2
        return slice(start, start + count)


def blocks(count: int, size: int) -> Iterator[slice]:
    """Yield slices of 0 to `count`, of `size` each, the last may be shorter."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def refuse_not_finite_volume(path: Path, kspace: np.ndarray, coil: int) -> None:
    """Raise InputError where a piece of k-space (coil, …) has NaN or infinity; coil: its first coil."""
    finite = np.isfinite(kspace)
    if not finite.all():
        first = coil + int(np.argmax(~finite.reshape(len(finite), -1).all(axis=1)))
        raise InputError(
            f"{path}: has NaN or infinite k-space ({finite.size - int(finite.sum())} samples of a piece, "
            f"first in coil {first}), which a 3-D scan cannot leave out; repair the file"
        )


def left_out_corners(acquired: np.ndarray) -> np.ndarray | None:
    """Return the ellipse about N//2 that a scan kept to, bool (phase, partition), None where it did not.

    acquired: bool (phase, partition).  The ellipse reaches as far as the samples do along each axis.
    """
    places = np.argwhere(acquired)
    if not len(places):
        return None
    away = [np.arange(n) - n // 2 for n in acquired.shape]
    reach = [max(float(np.abs(a[places[:, axis]]).max()), 0.5) + 0.5 for axis, a in enumerate(away)]
    radius = np.hypot(away[0][:, None] / reach[0], away[1][None] / reach[1])
    first, last = places.min(axis=0), places.max(axis=0) + 1
    box = np.zeros_like(acquired)
    box[first[0] : last[0], first[1] : last[1]] = True
    corners, ring = box & (radius > 1), box & (radius <= 1) & (radius > RING)
    beside = float(acquired[ring].mean()) if ring.any() else 0.0
    if beside * corners.sum() < FEWEST or acquired[corners].mean() > CORNERS * beside:
        return None
    return radius <= 1


def complete_region(
    acquired: np.ndarray, limits: tuple[tuple[int, int], tuple[int, int]]
) -> tuple[np.ndarray, bool]:
    """Return the samples that a complete scan has, bool (phase, partition), and whether corners are left out.

    limits: what a complete scan reaches, of phase and partition.  Where corners are left out, what lies
    between samples along both axes belongs to it, if it was acquired throughout, else the ellipse.
    """
    region = np.zeros_like(acquired)
    region[limits[0][0] : limits[0][1], limits[1][0] : limits[1][1]] = True
    ellipse = left_out_corners(acquired)
    if ellipse is None:
        return region, False
    hull = _between(acquired, 0) & _between(acquired, 1)
    return (hull if acquired[hull].all() else region & ellipse), True


def _between(acquired: np.ndarray, axis: int) -> np.ndarray:
    """Return what lies from the first to the last sample along an axis, bool."""
    before = np.maximum.accumulate(acquired, axis=axis)
    after = np.flip(np.maximum.accumulate(np.flip(acquired, axis), axis=axis), axis)
    return before & after
