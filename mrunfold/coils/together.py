"""One noise model, one coil compression and one set of coil maps for all frames of a slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrunfold.coils.cache import cached_maps
from mrunfold.coils.calibration import calibration_block
from mrunfold.coils.espirit import EspiritSettings
from mrunfold.coils.noise import NoiseModel, checked_sigma, live_coils, noise_model
from mrunfold.coils.transform import CoilTransform, noise_record
from mrunfold.errors import InputError

__all__ = ["Together", "cut_alike", "find_together", "maps_together", "mean_model", "mixed"]

CLEAR = 1.2  # times what noise alone may hold, for a mixture of frames to count
# k-space (coil, y, x), zero where not kept, and what was kept, bool (y, x)
Piece = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Together:
    """What the frames of a slice share: coil transform and maps.

    maps: (set, coil, y, x), None if the user gives maps or there is one coil; record: for the run record.
    """

    coils: CoilTransform
    maps: np.ndarray | None
    record: dict[str, Any]

    def louder(self, ratio: float) -> Together:
        """Return a copy for k-space with `ratio` times the noise of the pieces; the maps stay the same."""
        record = self.record | {"noise": dict(self.record["noise"])}
        record["noise"]["level"] = [float(f"{ratio * level:.4g}") for level in record["noise"]["level"]]
        coils = replace(self.coils, covariance=self.coils.covariance * ratio**2)
        return Together(coils, self.maps, record)


def find_together(
    pieces: Sequence[Piece],
    noise: np.ndarray | None,
    sigma: float | None,
    espirit: EspiritSettings,
    compression: int | float | Literal["auto"] | None,
    cache: Path | None,
    with_maps: bool = True,
) -> Together | None:
    """Return what frames share, found from all of them; None where they have no coil with signal in common.

    pieces: of each frame, all of one noise level; noise, sigma: as `find_whitening`; compression: None for
    all coils.  Without a noise scan the covariance is the mean over the frames, weighted by their samples.
    Calibration regions are cut to the smallest, and the rows of ESPIRiT's calibration matrix are those of
    all frames: coil maps are the same in all of them, whatever contrast and phase the object has.
    Raises InputError where no frame has a calibration region.
    """
    alive = [live_coils(kspace) for kspace, _ in pieces]
    shown = [(piece, live) for piece, live in zip(pieces, alive, strict=True) if live.any()]
    if not shown or not (live := np.all([one for _, one in shown], axis=0)).any():
        return None
    if noise is not None and sigma is None:
        live = live & live_coils(noise)
    used = [(kspace[live], kept) for (kspace, kept), _ in shown]
    model = _model(used, None if noise is None else noise[live], sigma)
    record = noise_record(live, model)
    record["together"] = len(used)
    coils = CoilTransform(live, model.covariance)
    if not with_maps or int(live.sum()) < 2:
        return Together(coils, None, record)
    full = [(coils.apply(kspace), kept) for (kspace, kept), _ in shown]
    blocks = _blocks(full, espirit)
    return maps_together(coils, blocks, full[0][1].shape, espirit, compression, cache, record)


def maps_together(
    coils: CoilTransform,
    blocks: np.ndarray,
    shape: tuple[int, int],
    espirit: EspiritSettings,
    compression: int | float | Literal["auto"] | None,
    cache: Path | None,
    record: dict[str, Any],
) -> Together | None:
    """Return what frames share, of whitened calibration blocks (frame, coil, h, w); None without any map.

    shape: (y, x) of the images; record: of the noise, which is added to.
    """
    coils, blocks = mixed(coils, blocks, compression, record)
    maps, record["maps"] = cached_maps(blocks, shape, espirit, cache)
    record["map_sets"] = len(maps)
    record["support"] = round(float((maps != 0).any(axis=(0, 1)).mean()), 4)
    return Together(coils, maps, record) if maps.any() else None


def mixed(
    coils: CoilTransform,
    blocks: np.ndarray,
    compression: int | float | Literal["auto"] | None,
    record: dict[str, Any],
) -> tuple[CoilTransform, np.ndarray]:
    """Return coils and mixtures (component, coil, …) of whitened blocks (frame, coil, …), both compressed.

    The first mixture holds most energy, and those that hold no more than noise does are left out.
    """
    blocks = _above_noise(blocks)
    record |= {"calibration": list(blocks.shape[2:]), "components": len(blocks)}
    if compression is not None:
        flat = np.concatenate(list(blocks), axis=1)  # (coil, frame·h, …)
        coils, flat = coils.compressed(flat, compression, record)
        blocks = np.stack(np.split(flat, len(blocks), axis=1))
    return coils, blocks


def mean_model(models: Sequence[NoiseModel]) -> NoiseModel:
    """Return the mean of noise models of the same coils, weighted by their samples."""
    counts = np.array([max(one.samples, 1) for one in models], float)
    mean = np.tensordot(counts / counts.sum(), np.stack([one.covariance for one in models]), axes=1)
    largest = models[int(np.argmax(counts))]
    return replace(largest, covariance=mean, samples=int(counts.sum()))


def cut_alike(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the middle of blocks (coil, …) that all of them have, stacked: (frame, coil, …)."""
    shapes = [block.shape[1:] for block in blocks]
    found = list(blocks)
    for axis, side in enumerate(map(min, zip(*shapes, strict=True)), start=1):
        found = [_cut(block, axis, side) for block in found]
    return np.stack(found)


def _model(used: Sequence[Piece], noise: np.ndarray | None, sigma: float | None) -> NoiseModel:
    if sigma is not None:
        checked_sigma(sigma)
    if sigma is not None or noise is not None:
        return noise_model(*used[0], noise, sigma)
    return mean_model([noise_model(kspace, kept) for kspace, kept in used])


def _blocks(pieces: Sequence[Piece], espirit: EspiritSettings) -> np.ndarray:
    """Return the calibration blocks (frame, coil, h, w) of the frames that have one, all of one size."""
    found, why = [], None
    for white, kept in pieces:
        try:
            found.append(calibration_block(white, kept, espirit.calibration_width, espirit.kernel_width))
        except InputError as error:  # this frame has no sampled centre; another may
            why = error
    if not found:
        assert why is not None
        raise why
    return cut_alike(found)


def _above_noise(blocks: np.ndarray) -> np.ndarray:
    """Return whitened blocks (frame, coil, …) mixed by a unitary matrix, without those that are noise.

    Frames that differ by a factor become one block with their signals added up; of N samples of unit noise in
    each of F frames no mixture holds more than N (1 + √(F/N))² (Marčenko and Pastur, 1967, Theorem 1).
    """
    data = blocks.reshape(len(blocks), -1).astype(np.complex128)
    energy, mixing = np.linalg.eigh(data @ data.conj().T)  # ascending
    samples = data.shape[1]
    most = samples * (1 + np.sqrt(len(blocks) / samples)) ** 2
    kept = energy > CLEAR * most
    kept[-1] = True
    mixed = mixing[:, kept][:, ::-1].conj().T @ data
    return mixed.reshape(-1, *blocks.shape[1:]).astype(np.complex64)


def _cut(block: np.ndarray, axis: int, side: int) -> np.ndarray:
    """Return the middle `side` samples along an axis; sample n//2 stays the centre."""
    start = block.shape[axis] // 2 - side // 2
    return np.take(block, range(start, start + side), axis=axis)
