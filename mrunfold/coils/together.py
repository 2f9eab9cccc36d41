"""One noise model, one compression and one set of coil maps of all frames of a place."""

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

__all__ = ["Together", "find_together"]

CLEAR = 1.2  # times what noise alone may hold, for a mixture of frames to count
# k-space (coil, y, x), zero where not kept, and what was kept, bool (y, x)
Piece = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Together:
    """What frames of a place share; maps: (set, coil, y, x), None where the user brings them or there is one
    coil; record: what the run record says of it."""

    coils: CoilTransform
    maps: np.ndarray | None
    record: dict[str, Any]

    def louder(self, ratio: float) -> Together:
        """Return it for k-space whose noise is `ratio` times that of the pieces: maps are the same."""
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
    blocks = _above_noise(_blocks(full, espirit))
    record |= {"calibration": list(blocks.shape[2:]), "components": len(blocks)}
    if compression is not None:
        flat = np.concatenate(list(blocks), axis=1)  # (coil, frame·h, w)
        coils, flat = coils.compressed(flat, compression, record)
        blocks = np.stack(np.split(flat, len(blocks), axis=1))
    maps, record["maps"] = cached_maps(blocks, full[0][1].shape, espirit, cache)
    record["map_sets"] = len(maps)
    record["support"] = round(float((maps != 0).any(axis=(0, 1)).mean()), 4)
    return Together(coils, maps, record) if maps.any() else None


def _model(used: Sequence[Piece], noise: np.ndarray | None, sigma: float | None) -> NoiseModel:
    if sigma is not None:
        checked_sigma(sigma)
    if sigma is not None or noise is not None:
        return noise_model(*used[0], noise, sigma)
    models = [noise_model(kspace, kept) for kspace, kept in used]
    counts = np.array([max(one.samples, 1) for one in models], float)
    mean = np.tensordot(counts / counts.sum(), np.stack([one.covariance for one in models]), axes=1)
    largest = models[int(np.argmax(counts))]
    return replace(largest, covariance=mean, samples=int(counts.sum()))


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
    sides = [min(block.shape[axis] for block in found) for axis in (1, 2)]
    return np.stack([_cut(_cut(block, 1, sides[0]), 2, sides[1]) for block in found])


def _above_noise(blocks: np.ndarray) -> np.ndarray:
    """Return whitened blocks (frame, coil, h, w) mixed by a unitary matrix, without those that are noise.

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
