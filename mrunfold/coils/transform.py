"""From the file's coils to those of a problem: dead coils dropped, noise whitened, coils compressed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mrunfold.coils.compression import apply_matrix, compression_matrix
from mrunfold.coils.noise import DEAD, NoiseModel, live_coils, noise_model, unwhitening, whiten
from mrunfold.errors import InputError

__all__ = [
    "CoilTransform", "OfVolume", "coil_words", "find_whitening", "noise_record", "volume_whitening",
    "whitening_of",
]  # fmt: skip

log = logging.getLogger(__name__)

EMPTY = 1e-5  # of the strongest slice
QUIETER = 0.7  # times the noise scan's level: less than that k-space cannot have


@dataclass(frozen=True)
class CoilTransform:
    """A linear map over coils, the same for every sample.

    live: which of the file's coils are used, bool (coil,); covariance: of their noise (live, live);
    compression: V (virtual, live) with orthonormal rows, None for none; signal: False for an all-zero slice.
    """

    live: np.ndarray
    covariance: np.ndarray
    compression: np.ndarray | None = None
    signal: bool = True

    def apply(self, kspace: np.ndarray) -> np.ndarray:
        """Return V W k, complex64: (coil, …) of the file → (coil, …) of the problem."""
        white = whiten(kspace if self.live.all() else kspace[self.live], self.covariance)
        return white if self.compression is None else apply_matrix(self.compression, white)

    def inverse(self) -> np.ndarray:
        """Return W⁻¹V⁺, complex128 (live, coil of the problem)."""
        L = unwhitening(self.covariance)
        return L if self.compression is None else L @ self.compression.conj().T  # orthonormal rows: V⁺ = Vᴴ

    def compressed(
        self, block: np.ndarray, keep: int | float | Literal["auto"], record: dict[str, Any]
    ) -> tuple[CoilTransform, np.ndarray]:
        """Return this followed by compression, and its whitened calibration block (coil, h, w) compressed."""
        if isinstance(keep, int) and keep > len(block):
            log.info("%d virtual coils asked, the scan has %d: not compressed", keep, len(block))
            return self, block
        matrix = compression_matrix(block, keep)
        if len(matrix) == len(block):
            # All are wanted: mixing them would change nothing but the image's phase.
            record["coils"] |= {"virtual": len(block), "energy": 1.0}
            return self, block
        virtual = apply_matrix(matrix, block)
        energy = float(
            np.linalg.norm(virtual) ** 2 / max(np.linalg.norm(block) ** 2, np.finfo(np.float32).tiny)
        )
        record["coils"] |= {"virtual": len(matrix), "energy": round(energy, 4)}
        return replace(self, compression=matrix), virtual


@dataclass(frozen=True)
class OfVolume:
    """What a slice of a 3-D scan has in common with the others, in place of what it would show by itself.

    coils: whitening and compression; maps: its own, (set, coil, y, x) of the compressed coils, None for one
    coil or the user's; scale: what y is divided by; record: of the noise, the coils and the calibration;
    crimes: whether this slice is looked at for data crimes; hit: bool (y, x), where slices have spikes.
    """

    coils: CoilTransform
    maps: np.ndarray | None
    scale: float
    record: dict[str, Any]
    crimes: bool = True
    hit: np.ndarray | None = None


def volume_whitening(
    slices: Sequence[np.ndarray],
    kept: np.ndarray,
    noise: np.ndarray | None,
    record: dict[str, Any],
    sigma: float | None = None,
) -> CoilTransform:
    """Return how to whiten a 3-D scan, of which `slices` (coil, y, x) are some; else as `find_whitening`.

    A transform along one axis leaves white noise as it was, so that all slices have the same.  Without a
    noise scan it is estimated in each of `slices`, and the mean over the quietest quarter of them is taken:
    those that the object does not reach have no signal at the edge of k-space.
    """
    energy = np.array([[float(np.linalg.norm(coil)) for coil in one] for one in slices])  # (slice, coil)
    strongest = slices[int(energy.sum(axis=1).argmax())]
    if noise is not None or sigma is not None or not energy.any():
        return find_whitening(strongest, kept, noise, record, sigma)
    rms = np.sqrt((energy**2).sum(axis=0))
    live = rms > DEAD * rms.max()
    if not live.all():
        log.warning("coils %s measure nothing and are left out", np.flatnonzero(~live).tolist())
    # Slices with nothing but rounding errors, as simulated ones beside the object, have no noise to measure.
    size = np.linalg.norm(energy, axis=1)
    there = np.flatnonzero(size > EMPTY * size.max()).tolist()
    models = [noise_model(slices[i][live], kept) for i in there]
    quiet = sorted(models, key=lambda model: float(np.median(model.levels)))[: -(-len(models) // 4)]
    covariance = np.mean([model.covariance for model in quiet], axis=0)
    model = replace(quiet[0], covariance=covariance, samples=sum(m.samples for m in quiet))
    record |= noise_record(live, model)
    record["noise"]["slices"] = len(quiet)
    return CoilTransform(live, covariance)


def find_whitening(
    kspace: np.ndarray,
    kept: np.ndarray,
    noise: np.ndarray | None,
    record: dict[str, Any],
    sigma: float | None = None,
) -> CoilTransform:
    """Return how to whiten k-space (coil, y, x), from its kept samples or its noise scan (coil, samples).

    kept: bool (y, x); sigma: the standard deviation √E|n|² of the noise of every coil, in units of k-space,
    which then is not estimated and the noise scan not used.  Coils that measure nothing are left out, which
    is logged; `record` is told of that, of the noise's source, its levels and how it goes on over k-space.
    With a noise scan, it is also told how k-space's own noise compares with it: that can be louder, where
    there is signal, but not quieter.
    """
    if sigma is not None:
        noise = None
    coils = whitening_of(kspace, noise, record, None, sigma, kept)
    if noise is not None and coils.signal:
        live = coils.live
        _compare(noise_model(kspace[live], kept), coils, record)
    return coils


def whitening_of(
    kspace: np.ndarray,
    noise: np.ndarray | None,
    record: dict[str, Any],
    model: NoiseModel | None,
    sigma: float | None,
    kept: np.ndarray | None = None,
) -> CoilTransform:
    """Return how to whiten k-space (coil, …) by a noise model of all its coils, else as `find_whitening`."""
    if noise is not None and (noise.ndim != 2 or len(noise) != len(kspace)):
        raise InputError(
            f"the noise scan is {noise.shape} and k-space {kspace.shape}; "
            "a noise scan is (coil, samples) of the same coils"
        )
    live = live_coils(kspace)
    signal = bool(live.any())
    if not signal:
        live = np.ones(len(kspace), bool)
    if noise is not None and np.isfinite(noise).all():
        live = live & live_coils(noise)
        if not live.any():
            raise InputError("the noise scan is zero in every coil that has signal; read the file without it")
    dropped = np.flatnonzero(~live).tolist()
    if dropped:
        log.warning("coils %s measure nothing and are left out", dropped)
    if model is None:
        everywhere = np.ones(kspace.shape[1:], bool) if kept is None else kept
        model = noise_model(kspace[live], everywhere, None if noise is None else noise[live], sigma)
    else:
        model = replace(model, covariance=model.covariance[np.ix_(live, live)])
    record |= noise_record(live, model)
    return CoilTransform(live, model.covariance, signal=signal)


def noise_record(live: np.ndarray, model: NoiseModel) -> dict[str, Any]:
    """Return what the run record says of the coils that are used, bool (coil,), and of their noise."""
    dropped = np.flatnonzero(~live).tolist()
    return {
        "coils": {"stored": len(live), "dropped": dropped, "used": int(live.sum())},
        "noise": {
            "source": model.source,
            "samples": model.samples,
            "profile": model.profile,
            "level": [float(f"{level:.4g}") for level in model.levels],
        },
    }


def coil_words(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the notes on coils that are dead and on a noise scan that cannot be, of a problem's record."""
    dropped, ratio = record["coils"]["dropped"], record["noise"].get("edge_over_scan", 1.0)
    notes = []
    if dropped:
        one = len(dropped) == 1
        which = ", ".join(map(str, dropped))
        notes.append(
            f"coil{'' if one else 's'} {which} measure{'s' if one else ''} nothing and "
            f"{'is' if one else 'are'} left out"
        )
    if ratio < QUIETER:
        notes.append(
            "the edge of k-space is quieter than the noise scan, which cannot be unless k-space is filtered: "
            "was that taken with another bandwidth or gain? Give the noise level (`noise`)"
        )
    return tuple(notes)


def _compare(edge: NoiseModel, coils: CoilTransform, record: dict[str, Any]) -> None:
    """Tell the record, and warn, of the noise at the edge of k-space against that of the noise scan."""
    ratio = float(np.median(edge.levels / np.sqrt(np.diagonal(coils.covariance).real)))
    record["noise"]["edge_over_scan"] = float(f"{ratio:.4g}")
    if ratio < QUIETER:
        log.warning(
            "the edge of k-space has %.2f times the noise of the noise scan, less than can be: "
            "was the scan taken with another bandwidth?",
            ratio,
        )
