"""Noise covariance between coils, from a noise scan or from k-space itself, and whitening by it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mrunfold.coils.edge import EdgeNoise, edge_noise, shrunk
from mrunfold.coils.nullspace import NullSpace, null_space
from mrunfold.errors import InputError

__all__ = [
    "NoiseModel", "covariance_of", "least_sigma_y", "live_coils", "noise_model", "unwhitening", "whiten",
]  # fmt: skip

log = logging.getLogger(__name__)

DEAD = 1e-6  # a coil whose rms is below this fraction of the strongest one's measures nothing
SAME = (0.7, 1.25)  # of the edge's level over the null space's: they agree
FALLS = 0.4  # the same, below which a floor at the edge is no noise
# Of the image's height.  Where an edge that is not flat has no null space beside it, as of one to three
# coils, a filter may have taken the noise away there, and it stands in the centre (docs/lab-notes.md).
UNSURE = 0.01
COILS_TO_TRUST = 4  # with fewer, signal fills most of the directions of the calibration region

Profile = Literal["flat", "falls towards the edge", "signal to the edge", "unknown"]


@dataclass(frozen=True)
class NoiseModel:
    """The noise covariance E[n nᴴ], complex128 (coil, coil), and what it was estimated from.

    source: `given`, `noise scan`, `k-space edge`, `calibration null space`, `samples closer than needed` (off
    the grid) or `none` (all-zero data: the
    identity); samples: how many vectors over coils entered; profile: how the noise goes on from the centre of
    k-space, where the covariance holds, to its edge.
    """

    covariance: np.ndarray
    source: Literal[
        "given", "noise scan", "k-space edge", "calibration null space", "samples closer than needed", "none"
    ]
    samples: int
    profile: Profile = "flat"

    @property
    def levels(self) -> np.ndarray:
        """Standard deviation of each coil, √E|n|², (coil,), in the file's units."""
        return np.sqrt(np.diagonal(self.covariance).real)


def live_coils(samples: np.ndarray) -> np.ndarray:
    """Return which coils measure anything, bool (coil,), from (coil, …); all False for all-zero data."""
    flat = np.abs(samples.reshape(len(samples), -1))
    # The maximum first: squares of float32 values may overflow or vanish.
    peak = flat.max(initial=0)
    if peak == 0:
        return np.zeros(len(samples), bool)
    rms = np.sqrt(np.mean((flat / peak) ** 2, axis=1, dtype=np.float64))
    return rms > DEAD * rms.max()


def noise_model(
    kspace: np.ndarray, acquired: np.ndarray, noise: np.ndarray | None = None, sigma: float | None = None
) -> NoiseModel:
    """Return the noise covariance of k-space (coil, readout, phase), from its noise scan if there is one.

    acquired: bool (readout, phase), the samples that may be looked at; noise: (coil, samples), scaled to the
    noise of k-space by the reader; sigma: √E|n|² of every coil, where it is known: nothing is estimated then.
    Every coil must be live (`live_coils`).  Without a scan the edge of k-space and the null space of its
    calibration region are compared; where they disagree the null space is right, for the edge holds signal,
    or is filtered.  Raises InputError for a sigma that is not positive, and for a noise scan of other coils,
    with a dead coil or with NaN.
    """
    coils = len(kspace)
    if sigma is not None:
        return NoiseModel(checked_sigma(sigma) ** 2 * np.eye(coils, dtype=np.complex128), "given", 0)
    if noise is not None:
        return NoiseModel(covariance_of(_checked(noise, coils)), "noise scan", noise.shape[1])
    edge = edge_noise(kspace, acquired)
    if edge is None:
        return NoiseModel(np.eye(coils, dtype=np.complex128), "none", 0)
    return _from_both(edge, null_space(kspace, acquired, edge.covariance))


def least_sigma_y(record: dict[str, Any]) -> float:
    """Return the smallest plausible σ_y, in units of the image's height, from the record of a noise model.

    record: of a problem, its `noise` as `NoiseModel` says.  0 where the level is known; `UNSURE` where only
    an edge that is no floor tells it: `sigma_y_at_least` is then added to `noise`.
    """
    said = record.get("noise", {})
    if said.get("profile") != "unknown":
        return 0.0
    said["sigma_y_at_least"] = UNSURE
    return UNSURE


def checked_sigma(sigma: float) -> float:
    """Return a noise level that is positive and finite; InputError for any other."""
    try:
        value = float(sigma)
    except (TypeError, ValueError):
        value = np.nan
    if not (np.isfinite(value) and value > 0):
        raise InputError(
            f"the noise level is a standard deviation above 0 in units of k-space, got {sigma!r}; "
            "leave it out to have it estimated"
        )
    return value


def covariance_of(samples: np.ndarray) -> np.ndarray:
    """Return the covariance of noise (coil, samples), complex128 (coil, coil), shrunk to its diagonal.

    The mean is taken to be zero.  The weight of the diagonal is coils/(samples + coils): nothing for a noise
    scan, enough to keep the matrix invertible when there are few samples.
    """
    x = samples.astype(np.complex128)
    return shrunk(x @ x.conj().T / x.shape[1], x.shape[1])


def whiten(kspace: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return W k with W = L⁻¹, covariance = L Lᴴ: noise of unit variance (E|n|² = 1), independent over coils.

    kspace: (coil, …) → the same, complex64.  Raises InputError where the covariance is not positive definite.
    """
    inverse = np.linalg.inv(unwhitening(covariance))
    if len(inverse) != len(kspace):
        raise InputError(
            f"the noise covariance is of {len(inverse)} coils and k-space {kspace.shape} of {len(kspace)}; "
            "give the covariance of these coils"
        )
    white = inverse.astype(np.complex64) @ kspace.reshape(len(kspace), -1)
    return white.reshape(kspace.shape).astype(np.complex64, copy=False)


def unwhitening(covariance: np.ndarray) -> np.ndarray:
    """Return L with covariance = L Lᴴ (Cholesky), (coil, coil); L undoes `whiten`."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise InputError(
            "the noise covariance is not positive definite; drop coils that are dead or copies of others"
        ) from None


def _checked(noise: np.ndarray, coils: int) -> np.ndarray:
    if noise.ndim != 2 or len(noise) != coils or noise.shape[1] < 2:
        raise InputError(f"a noise scan is (coil, samples), {coils} coils here, got {noise.shape}")
    if not np.isfinite(noise).all():
        raise InputError("the noise scan has NaN or infinite values; remove it from the file or export again")
    if not live_coils(noise).all():
        raise InputError("the noise scan is zero in a coil; drop that coil or the noise scan")
    return noise


def _from_both(edge: EdgeNoise, null: NullSpace | None) -> NoiseModel:
    """Choose edge or null space: the edge has more samples, but may hold signal or be filtered."""
    at_edge = NoiseModel(_where_evident(edge.covariance, edge.samples), "k-space edge", edge.samples)
    if null is None:
        return replace(at_edge, profile="flat" if edge.flat else "unknown")
    ratio = float(np.median(at_edge.levels / np.sqrt(np.diagonal(null.covariance).real)))
    few = len(edge.covariance) < COILS_TO_TRUST
    if SAME[0] < ratio < SAME[1] or (few and edge.flat and FALLS < ratio < 1):
        return at_edge
    covariance = _where_evident(null.covariance, null.samples)
    profile: Profile = "signal to the edge" if ratio > 1 else "falls towards the edge"
    return NoiseModel(covariance, "calibration null space", null.samples, profile)


def _where_evident(covariance: np.ndarray, samples: int) -> np.ndarray:
    """Return the covariance moved towards its diagonal by the share of its correlations that chance explains.

    Chance gives |ρ|² = 1/samples a pair of coils.
    """
    level = np.sqrt(np.maximum(np.diagonal(covariance).real, np.finfo(np.float64).tiny))
    coils = len(level)
    observed = float((np.abs(covariance / (level * level[:, None])) ** 2).sum()) - coils
    chance = coils * (coils - 1) / samples
    weight = 1.0 if observed <= chance else chance / observed
    return (1 - weight) * covariance + weight * np.diag(np.diagonal(covariance))
