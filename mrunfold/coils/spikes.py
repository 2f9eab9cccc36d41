"""Remove spikes from k-space and from the mask, and fill in their samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.fft

from mrunfold.io.scan import Header
from mrunfold.io.spikes import find_spikes, find_spikes_along, spikes_words

if TYPE_CHECKING:
    from mrunfold.coils.transform import OfVolume

__all__ = ["Spiked", "cleaned", "leave_out", "leave_out_along", "spikes_of"]

Spikes = Literal["drop", "keep"]


@dataclass(frozen=True)
class Spiked:
    """k-space (coil, readout, phase) as stored, with other samples in place of spikes.

    hit: bool (readout, phase), where they were; found: how many were found, left out or not.
    """

    kspace: np.ndarray
    hit: np.ndarray
    found: int
    flags: tuple[str, ...] = ()

    def left(self, keep: np.ndarray, record: dict[str, Any]) -> np.ndarray:
        """Return `keep`, bool (y, x) without readout oversampling, without the samples nearest to a spike."""
        rows, columns = np.nonzero(self.hit)
        stored, wanted = len(self.hit), len(keep)
        left = keep
        if len(rows):
            left = keep.copy()
            at = (np.arange(wanted) - wanted // 2)[:, None] * (stored / wanted)  # in stored samples
            near = np.abs(at - (rows - stored // 2)) <= stored / wanted / 2
            for number, column in enumerate(columns.tolist()):
                left[near[:, number], column] = False
        gone = np.argwhere(keep & ~left)
        record["spikes"] = {"found": self.found, "left_out": gone.tolist()}
        return left


def leave_out(
    kspace: np.ndarray,
    held: np.ndarray,
    mask: np.ndarray,
    header: Header,
    how: Spikes,
    cut: bool,
    volume: OfVolume | None = None,
) -> Spiked:
    """Return k-space (coil, readout, phase) as stored without the spikes of the samples that enter.

    held: bool (readout, phase), what was acquired; mask: what of it enters, of the final grid whole lines;
    spikes of the other samples, which the target alone has, are replaced as well, but not counted; how:
    "keep" counts them only; cut: readout oversampling is to be removed.  Where there is such oversampling, a
    sample is what the others of its readout make of it, as nothing lies outside of the field of view; else
    the mean of its neighbours, which only coil maps, the noise level and the target are made of.  volume: of
    a 3-D scan; where other slices have spikes, this one has them too.
    """
    if mask.shape[-1:] != held.shape[-1:]:
        mask = held  # it is refused where it is to be used
    kept = held & (mask if mask.shape == held.shape else mask.any(axis=0)).astype(bool)
    places = find_spikes(kspace, kept)
    if volume is not None and volume.hit is not None:
        places = np.unique(np.concatenate([places, np.argwhere(volume.hit & kept)]), axis=0)
    flags = (spikes_words(len(places), how == "keep"),) if len(places) else ()
    hit = np.zeros(kept.shape, bool)
    if how == "keep":
        return Spiked(kspace, hit, len(places), flags)
    hit[places[:, 0], places[:, 1]] = True
    every = hit.copy()
    if (held & ~kept).any():
        more = find_spikes(kspace, held)
        every[more[:, 0], more[:, 1]] = True
    return Spiked(_replaced(kspace, every, held, header, cut), hit, len(places), flags)


def cleaned(kspace: np.ndarray, kept: np.ndarray, how: Spikes) -> np.ndarray:
    """Return k-space (coil, y, x) on its final grid with the mean of neighbours in place of spikes."""
    hit = spikes_of([kspace], kept, how)
    return kspace if hit is None else _neighbours(kspace, hit, kept)


def spikes_of(slices: Iterable[np.ndarray], kept: np.ndarray, how: Spikes) -> np.ndarray | None:
    """Return where any of these slices (coil, y, x) of a 3-D scan has spikes, bool (y, x); None for nowhere.

    A spike is one sample of three transforms: after one of them it is in all slices, at the same place.
    """
    hit = np.zeros(kept.shape, bool)
    for one in slices if how == "drop" else ():
        places = find_spikes(one, kept)
        hit[places[:, 0], places[:, 1]] = True
    return hit if hit.any() else None


def leave_out_along(
    kspace: np.ndarray, trajectory: np.ndarray, kept: np.ndarray, there: np.ndarray, how: Spikes,
    record: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:  # fmt: skip
    """Return the samples that enter and those acquired, bool (readout, interleaf), without spikes, and flags.

    kspace: complex (coil, readout, interleaf); else as `leave_out` and `find_spikes_along`.
    """
    places = find_spikes_along(kspace, trajectory, kept)
    record["spikes"] = {"found": len(places), "left_out": [] if how == "keep" else places.tolist()}
    flags = (spikes_words(len(places), how == "keep"),) if len(places) else ()
    if how == "keep":
        return kept, there, flags
    more = find_spikes_along(kspace, trajectory, there) if (there & ~kept).any() else places
    hit = np.zeros(kept.shape, bool)
    hit[places[:, 0], places[:, 1]] = True
    every = hit.copy()
    every[more[:, 0], more[:, 1]] = True
    return kept & ~hit, there & ~every, flags


def _replaced(kspace: np.ndarray, hit: np.ndarray, held: np.ndarray, header: Header, cut: bool) -> np.ndarray:
    if not hit.any():
        return kspace
    if cut and header.unoversampled < header.matrix[0]:
        return _from_readout(kspace, hit, header.unoversampled)
    return _neighbours(kspace, hit, held)


def _neighbours(kspace: np.ndarray, hit: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return k-space with the mean of the acquired next neighbours at `hit`, 0 where there is none."""
    found = kspace.copy()
    usable = np.pad(held & ~hit, 1)
    for y, x in np.argwhere(hit).tolist():
        near = [(y + dy, x + dx) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        near = [(v, u) for v, u in near if usable[v + 1, u + 1]]
        found[:, y, x] = np.mean([kspace[:, v, u] for v, u in near], axis=0) if near else 0
    return found


def _from_readout(kspace: np.ndarray, hit: np.ndarray, wanted: int) -> np.ndarray:
    """Return k-space with, at `hit`, the samples that leave least energy outside the `wanted` middle rows.

    Least squares: with P the projection onto what lies outside, P_hh v = −P_hr k_r in each readout.
    """
    found = kspace.copy()
    found[:, hit] = 0
    stored = len(hit)
    for x in np.flatnonzero(hit.any(axis=0)).tolist():
        rows = np.flatnonzero(hit[:, x])
        unit = np.zeros((len(rows), stored), np.complex128)
        unit[np.arange(len(rows)), rows] = 1
        matrix = _outside(unit, wanted)[:, rows].T
        beyond = _outside(found[:, :, x].astype(np.complex128), wanted)[:, rows]  # (coil, hit)
        found[:, rows, x] = -np.linalg.solve(matrix, beyond.T).T
    return found


def _outside(readouts: np.ndarray, wanted: int) -> np.ndarray:
    """Return readouts (…, readout) of what lies outside the `wanted` middle pixels of the field of view."""
    stored = readouts.shape[-1]
    image = scipy.fft.fftshift(scipy.fft.ifft(scipy.fft.ifftshift(readouts, axes=-1)), axes=-1)
    start = stored // 2 - wanted // 2
    image[..., start : start + wanted] = 0
    return scipy.fft.fftshift(scipy.fft.fft(scipy.fft.ifftshift(image, axes=-1)), axes=-1)
