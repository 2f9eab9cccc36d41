"""What the slices of a 3-D scan have in common: noise model, calibration and scale of the volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mrunfold.coils.given import white_maps
from mrunfold.coils.transform import CoilTransform, OfVolume, volume_whitening
from mrunfold.coils.volume_maps import VolumeMaps
from mrunfold.errors import InputError
from mrunfold.io.hybrid import HybridScan
from mrunfold.io.scan import Scan
from mrunfold.masks import Mask, calibration_region
from mrunfold.operators import FourierMask, LinearOperator, Sense
from mrunfold.pipeline.own import OwnParts
from mrunfold.pipeline.units import in_units, unit_of
from mrunfold.prepare import ProblemSettings, compressed_coils, kept_samples
from mrunfold.problem import scale_of

__all__ = ["VolumeParts", "parts_of"]

LOOKED_AT = 8  # slices, evenly spaced, that the noise and the scale are of

Maps = Callable[[int], "np.ndarray | None"]


class VolumeParts:
    """One volume of a 3-D scan; `of` gives what a slice of it needs.

    keep: bool (y, x), the samples that enter, the same in all slices; noise: the noise scan (coil, samples);
    own: gives the user's maps of a slice, (set, coil, y, x) of the file's coils, or None; unit: what samples
    are divided by before anything else.  Raises InputError where the sampled centre of k-space is too small.
    """

    def __init__(
        self,
        scan: HybridScan,
        volume: int,
        keep: np.ndarray,
        noise: np.ndarray | None,
        settings: ProblemSettings,
        own: Maps,
    ) -> None:
        self._scan, self._volume, self._own = scan, volume, own
        assert scan.header.grid is not None
        self._grid = scan.header.grid
        each = len(scan) // scan.source.volumes
        few = min(each, LOOKED_AT)
        looked_at = [volume * each + int((i + 0.5) * each / few) for i in range(few)]
        measured = [np.where(keep, scan.kspace(index), np.complex64(0)) for index in looked_at]
        self.unit = max(unit_of(one) for one in measured)
        self._settings = settings.times(1 / self.unit)
        measured = [in_units(one, self.unit) for one in measured]
        self._record: dict[str, Any] = {}
        self._coils = volume_whitening(
            measured, keep, in_units(noise, self.unit), self._record, self._settings.sigma
        )
        self._maps: VolumeMaps | None = None
        if self._coils.live.sum() > 1 and self._coils.signal and own(looked_at[0]) is None:
            self._calibrate(keep)
        self._scale = self._common_scale(looked_at, measured, keep)
        self._record["volume"] = {"slices_looked_at": few, "scale": float(f"{self._scale:.6g}")}

    def _calibrate(self, keep: np.ndarray) -> None:
        espirit = self._settings.espirit
        region = calibration_region(keep)
        width = espirit.calibration_width
        sides = min(self._scan.sampled_across, width), min(region[0], width), min(region[1], width)
        block = self._scan.calibration_block(self._volume, width)
        if block is None or min(block.shape[2:]) <= min(region):
            if min(region) < min(espirit.kernel_width, *self._scan.header.matrix):
                raise InputError(
                    f"{self._scan.path}: the fully sampled centre of k-space is {region[0]}×{region[1]} and "
                    f"coil calibration needs at least {espirit.kernel_width}×{espirit.kernel_width}; take a "
                    "mask with a larger calibration region or a lower acceleration"
                )
            block = self._scan.centre(self._volume, sides)
        else:
            self._record["calibration_scan"] = True
        self._record["calibration"] = list(block.shape[1:])
        white = self._coils.apply(in_units(block, self.unit))
        self._coils, white = compressed_coils(self._coils, white, self._settings, self._record)
        if len(white) > 1:
            self._maps = VolumeMaps(white, (self._across, *keep.shape), espirit)
            self._record["kernel"] = list(self._maps.widths)

    @property
    def _across(self) -> int:
        """How many slices the grid has that the slices are a part of."""
        grid = self._grid
        return grid.size[0 if grid.along == "readout" else 2]

    def _place(self, index: int) -> int:
        """Return where a slice lies on that grid."""
        return int(self._grid.kept.start) + self._scan.place(index)[1]

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

    def _slice_maps(self, index: int, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return maps of the compressed coils, (set, coil, y, x), None for one coil and without any."""
        own = self._own(index)
        if own is not None:
            return white_maps(own, self._coils, (shape[0], shape[1]), shape[0])
        return None if self._maps is None else self._maps.maps(self._place(index))

    def of(self, index: int) -> OfVolume:
        """Return what slice `index` needs; the middle one of a volume is looked at for data crimes."""
        each = len(self._scan) // self._scan.source.volumes
        crimes = self._scan.place(index)[1] == each // 2
        maps = None if self._maps is None else self._maps.maps(self._place(index))
        return OfVolume(self._coils, maps, self._scale, self._record, crimes)

    @property
    def coils(self) -> CoilTransform:
        """Whitening and compression of all slices."""
        return self._coils


def parts_of(
    volumes: dict[int, VolumeParts], scan: Scan, index: int, mask: Mask, held: np.ndarray,
    noise: np.ndarray | None, how: ProblemSettings, own: OwnParts,
) -> VolumeParts | None:  # fmt: skip
    """Return what the slices of this one's volume share, None for a scan of 2-D slices.

    volumes: keeps that of the last slice.
    """
    whole = scan.hybrid
    if whole is None:
        return None
    header = scan.header
    volume, _ = whole.place(index)
    if volume not in volumes:
        volumes.clear()
        keep = kept_samples(mask, held, header, header.matrix, not held.any())
        noise = in_units(noise, 1 / scan.noise_ratio(index))

        def maps(one: int) -> np.ndarray | None:
            return own.maps_of(header, one)

        volumes[volume] = VolumeParts(whole, volume, keep, noise, how, maps)
    return volumes[volume]
