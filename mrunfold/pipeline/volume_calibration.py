"""Noise, compression and coil maps of a 3-D scan, from one volume or from all frames of a slab together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrunfold.coils.noise import NoiseModel
from mrunfold.coils.spikes import cleaned
from mrunfold.coils.together import cut_alike, mean_model, mixed
from mrunfold.coils.transform import CoilTransform, noise_record, volume_whitening
from mrunfold.coils.volume_maps import VolumeMaps
from mrunfold.errors import InputError
from mrunfold.io.hybrid import HybridScan
from mrunfold.masks import calibration_region
from mrunfold.pipeline.units import in_units, unit_of
from mrunfold.prepare import AUTO_COILS, ProblemSettings, compressed_coils

__all__ = ["Calibration", "calibrate", "looked_at"]

LOOKED_AT = 8  # slices, evenly spaced, that the noise and the scale are of


@dataclass(frozen=True)
class Calibration:
    """What volumes share.

    coils: whitening and compression of k-space divided by `unit`, for a noise ratio of 1; maps: None for one
    coil, and where the user brings them; record: what the run record says of it.
    """

    coils: CoilTransform
    maps: VolumeMaps | None
    unit: float
    record: dict[str, Any]

    def louder(self, ratio: float) -> CoilTransform:
        """Return the coils of a volume whose noise is `ratio` times as large."""
        return replace(self.coils, covariance=self.coils.covariance * ratio**2)


def looked_at(scan: HybridScan, volume: int) -> list[int]:
    """Return the slices of a volume that its noise and its scale are of."""
    each = len(scan) // scan.source.volumes
    few = min(each, LOOKED_AT)
    return [volume * each + int((i + 0.5) * each / few) for i in range(few)]


def calibrate(
    scan: HybridScan,
    keeps: Mapping[int, np.ndarray],
    noise: np.ndarray | None,
    settings: ProblemSettings,
    with_maps: bool,
) -> Calibration:
    """Return what volumes of a slab share, found from all of them.

    keeps: of each volume, in the order in which it is read, the samples that enter, bool (y, x); noise: the
    noise scan (coil, samples); settings: in the file's units; with_maps: False where the user brings maps.
    Raises InputError where the sampled centre of k-space is too small.
    """
    pieces = [_piece(scan, volume, keep, noise, settings, with_maps) for volume, keep in keeps.items()]
    pieces.sort(key=lambda piece: piece.volume)
    unit = max(piece.unit for piece in pieces)
    shown = [piece for piece in pieces if piece.coils.signal] or pieces[:1]
    if all(piece.why is not None for piece in shown):
        raise InputError(shown[0].why or "")
    if len(shown) == 1:
        coils, record = shown[0].coils, shown[0].record
        coils = replace(coils, covariance=coils.covariance * (shown[0].unit / unit) ** 2)
    else:
        coils, record = _together(shown, unit)
    blocks = [in_units(piece.block, unit) for piece in shown if piece.block is not None]
    if not blocks or coils.live.sum() < 2:
        return Calibration(coils, None, unit, record)
    white = [coils.apply(block) for block in blocks]
    if len(white) == 1:
        record["calibration"] = list(white[0].shape[1:])
        coils, block = compressed_coils(coils, white[0], settings, record)
    else:
        few = settings.compression == "auto" and len(white[0]) <= AUTO_COILS
        coils, block = mixed(coils, cut_alike(white), None if few else settings.compression, record)
    if block.shape[-4] < 2:
        return Calibration(coils, None, unit, record)
    assert scan.header.grid is not None
    grid = scan.header.grid
    across = grid.size[0 if grid.along == "readout" else 2]
    keep = next(iter(keeps.values()))
    maps = VolumeMaps(block, (across, *keep.shape), settings.espirit)
    record["kernel"] = list(maps.widths)
    return Calibration(coils, maps, unit, record)


@dataclass(frozen=True)
class _Piece:
    """One volume's own.

    block: in the file's units, (coil, d, h, w), its noise that of a ratio of 1; why: there is none, though it
    is wanted.
    """

    volume: int
    coils: CoilTransform
    unit: float
    record: dict[str, Any]
    block: np.ndarray | None
    why: str | None = None


def _piece(
    scan: HybridScan,
    volume: int,
    keep: np.ndarray,
    noise: np.ndarray | None,
    settings: ProblemSettings,
    with_maps: bool,
) -> _Piece:
    indices = looked_at(scan, volume)
    ratio = scan.noise_ratio(indices[0]) if settings.sigma is None else 1.0
    kept = (np.where(keep, scan.kspace(index), np.complex64(0)) for index in indices)
    measured = [cleaned(one, keep, settings.spikes) / np.float32(ratio) for one in kept]
    unit = max(unit_of(one) for one in measured)
    record: dict[str, Any] = {}
    coils = volume_whitening(
        [in_units(one, unit) for one in measured],
        keep,
        in_units(noise, unit),
        record,
        settings.times(1 / unit).sigma,
    )
    block = why = None
    if with_maps and coils.signal and coils.live.sum() > 1:
        try:
            block = _block(scan, volume, keep, settings, record) / np.float32(ratio)
        except InputError as error:  # this volume has no sampled centre; another frame may
            why = str(error)
    return _Piece(volume, coils, unit, record, block, why)


def _together(pieces: Sequence[_Piece], unit: float) -> tuple[CoilTransform, dict[str, Any]]:
    """Return the coils that all volumes have, with the mean of their noise, and the record of it."""
    live = np.all([piece.coils.live for piece in pieces], axis=0)
    if not live.any():
        raise InputError("no coil has signal in all frames; take per_frame")
    models = []
    for piece in pieces:
        among = live[piece.coils.live]
        said = piece.record["noise"]
        covariance = piece.coils.covariance[np.ix_(among, among)] * (piece.unit / unit) ** 2
        models.append(NoiseModel(covariance, said["source"], said["samples"], said["profile"]))
    model = mean_model(models)
    record = noise_record(live, model) | {"together": len(pieces)}
    return CoilTransform(live, model.covariance), record


def _block(
    scan: HybridScan, volume: int, keep: np.ndarray, settings: ProblemSettings, record: dict[str, Any]
) -> np.ndarray:
    """Return the calibration region of a volume, (coil, d, h, w), in the file's units."""
    espirit = settings.espirit
    region = calibration_region(keep)
    width = espirit.calibration_width
    sides = min(scan.sampled_across, width), min(region[0], width), min(region[1], width)
    block = scan.calibration_block(volume, width)
    if block is not None and min(block.shape[2:]) > min(region):
        record["calibration_scan"] = True
        return block
    if min(region) < min(espirit.kernel_width, *scan.header.matrix):
        raise InputError(
            f"{scan.path}: the fully sampled centre of k-space is {region[0]}×{region[1]} and coil "
            f"calibration needs at least {espirit.kernel_width}×{espirit.kernel_width}; take a mask with a "
            "larger calibration region or a lower acceleration"
        )
    return scan.centre(volume, sides)
