"""What the slices of a 3-D scan have in common: noise model, calibration and scale of the volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from mrunfold.coils.given import white_maps
from mrunfold.coils.spikes import spikes_of
from mrunfold.coils.transform import CoilTransform, OfVolume
from mrunfold.io.hybrid import HybridScan
from mrunfold.io.scan import Scan
from mrunfold.masks import Mask, acquired
from mrunfold.operators import FourierMask, LinearOperator, Sense
from mrunfold.pipeline.own import OwnParts
from mrunfold.pipeline.together import MOST
from mrunfold.pipeline.units import in_units
from mrunfold.pipeline.volume_calibration import Calibration, calibrate, looked_at
from mrunfold.prepare import ProblemSettings, kept_samples
from mrunfold.problem import scale_of

__all__ = ["VolumeParts", "Volumes"]

Maps = Callable[[int], "np.ndarray | None"]


class VolumeParts:
    """One volume of a 3-D scan; `of` gives what a slice of it needs.

    keep: bool (y, x), the samples that enter, the same in all slices; found: its noise and coil maps, its own
    or those of all frames; loud: its noise over that of `found`; own: gives the user's maps of a slice, (set,
    coil, y, x) of the file's coils, or None; how: with spikes, as in `ProblemSettings`; unit: what samples
    are divided by before anything else.
    """

    def __init__(
        self, scan: HybridScan, volume: int, keep: np.ndarray, found: Calibration, loud: float, own: Maps,
        how: Literal["drop", "keep"] = "drop",
    ) -> None:  # fmt: skip
        self._scan, self._own, self._maps = scan, own, found.maps
        self.unit, self._coils = found.unit, found.louder(loud)
        assert scan.header.grid is not None
        self._first = int(scan.header.grid.kept.start)
        self._record = found.record | {"noise": dict(found.record["noise"])}
        if loud != 1:
            level = self._record["noise"]["level"]
            self._record["noise"]["level"] = [float(f"{loud * one:.4g}") for one in level]
        indices = looked_at(scan, volume)
        measured = [in_units(np.where(keep, scan.kspace(i), np.complex64(0)), self.unit) for i in indices]
        self._hit = spikes_of(measured, keep, how)
        if self._hit is not None:
            measured = [np.where(self._hit, np.complex64(0), one) for one in measured]
        self._scale = self._common_scale(indices, measured, keep)
        self._record["volume"] = {"slices_looked_at": len(indices), "scale": float(f"{self._scale:.6g}")}

    def _common_scale(self, indices: list[int], measured: list[np.ndarray], keep: np.ndarray) -> float:
        """Return the 99th percentile of |Aᴴy| of all pixels of these slices together; 1 where it is 0."""
        mask = torch.from_numpy(keep.astype(np.float32))
        found = []
        for index, kspace in zip(indices, measured, strict=True):
            white = self._coils.apply(kspace)
            maps = self._slice_maps(index, white.shape[1:])
            A: LinearOperator = FourierMask(mask) if maps is None else Sense(torch.from_numpy(maps), mask)
            if maps is None and len(white) > 1:
                continue
            found.append(A.adjoint(torch.from_numpy(white)).abs().flatten())
        pixels = torch.cat(found) if found else torch.zeros(1)
        return float(scale_of(pixels))

    def _estimated(self, index: int) -> np.ndarray | None:
        """Return the estimated maps of a slice, None where there are none."""
        return None if self._maps is None else self._maps.maps(self._first + self._scan.place(index)[1])

    def _slice_maps(self, index: int, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return maps of the compressed coils, (set, coil, y, x), None for one coil and without any."""
        own = self._own(index)
        if own is not None:
            return white_maps(own, self._coils, (shape[0], shape[1]), shape[0])
        return self._estimated(index)

    def of(self, index: int) -> OfVolume:
        """Return what slice `index` needs; the middle one of a volume is looked at for data crimes."""
        each = len(self._scan) // self._scan.source.volumes
        crimes = self._scan.place(index)[1] == each // 2
        return OfVolume(self._coils, self._estimated(index), self._scale, self._record, crimes, self._hit)

    @property
    def coils(self) -> CoilTransform:
        """Whitening and compression of all slices."""
        return self._coils


@dataclass
class Volumes:
    """Keeps what volumes share: of the last one, and the noise and coil maps of each slab.

    apart: calibrate each volume by itself, not all frames of its slab together.
    """

    apart: bool = False
    parts: dict[int, VolumeParts] = field(default_factory=dict)
    found: dict[tuple[int, ...], Calibration] = field(default_factory=dict)

    def of(
        self, scan: Scan, index: int, drawn: Mask | None, noise: np.ndarray | None, how: ProblemSettings,
        own: OwnParts,
    ) -> VolumeParts | None:  # fmt: skip
        """Return what the slices of this one's volume share, None for a scan of 2-D slices.

        drawn: the mask that slices share, None for what was acquired; how: in the file's units.
        """
        whole = scan.hybrid
        if whole is None:
            return None
        volume, _ = whole.place(index)
        if volume in self.parts:
            return self.parts[volume]

        def keep(one: int) -> np.ndarray:
            held = whole.acquired(one * (len(whole) // whole.source.volumes))
            mask = drawn or acquired(held if held.any() else np.ones_like(held))
            return kept_samples(mask, held, scan.header, scan.header.matrix, not held.any())

        alike = [volume] if self.apart else whole.alike(volume)
        some = [alike[i] for i in np.unique(np.linspace(0, len(alike) - 1, MOST).astype(int))]
        if tuple(some) not in self.found:
            order = sorted(some, key=lambda one: one == volume)  # this one is read last, and stays
            keeps = {one: keep(one) for one in order}
            found = calibrate(whole, keeps, noise, how, own.maps is None)
            self.found[tuple(some)] = found
            if len(some) > 1:
                found.record["frames"] = [_frame(whole, one) for one in some]
        loud = whole.noise_ratio(index) if how.sigma is None else 1.0
        self.parts.clear()
        maps: Maps = lambda one: own.maps_of(scan.header, one)  # noqa: E731
        known = keep(volume), self.found[tuple(some)], loud
        self.parts[volume] = VolumeParts(whole, volume, *known, maps, how.spikes)
        return self.parts[volume]


def _frame(scan: HybridScan, volume: int) -> Any:
    """Return the frame that a volume is of."""
    images = scan.source.header
    assert images.frames is not None
    return images.frames.frame[volume * (images.slices // scan.source.volumes)]
