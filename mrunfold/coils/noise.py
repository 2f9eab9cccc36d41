"""Noise covariance between coils, from a noise scan or the edge of k-space, and whitening by it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mrunfold.coils.nullspace import null_space_level
from mrunfold.errors import InputError

__all__ = ["NoiseModel", "covariance_of", "live_coils", "noise_model", "unwhitening", "whiten"]

log = logging.getLogger(__name__)

DEAD = 1e-6  # a coil whose rms is below this fraction of the strongest one's measures nothing
EDGE_FRACTION = 0.02  # of the acquired samples; farther in, the signal grows quickly
EDGE_PER_COIL = 20  # samples a coil at least: the covariance is then known to about 1/√20
TYLER_STEPS = 50
CONTAMINATED = 0.67  # of the edge's level in the null space: the edge then holds more signal than noise


@dataclass(frozen=True)
class NoiseModel:
    """The noise covariance E[n nᴴ], complex128 (coil, coil), and what it was estimated from.

    source: `noise scan`, `k-space edge`, `calibration null space` (where the edge is full of signal: equal
    noise in all coils; in both, signal can only make it too large) or `none` (all-zero data: the identity);
    samples: how many vectors over coils entered.
    """

    covariance: np.ndarray
    source: Literal["noise scan", "k-space edge", "calibration null space", "none"]
    samples: int

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


def noise_model(kspace: np.ndarray, acquired: np.ndarray, noise: np.ndarray | None = None) -> NoiseModel:
    """Return the noise covariance of k-space (coil, readout, phase), from its noise scan if there is one.

    acquired: bool (readout, phase), the samples that may be looked at; noise: (coil, samples), scaled to the
    noise of k-space by the reader.  Every coil must be live (`live_coils`).  Raises InputError for a noise
    scan of other coils, with a dead coil or with NaN.
    """
    coils = len(kspace)
    if noise is not None:
        return NoiseModel(covariance_of(_checked(noise, coils)), "noise scan", noise.shape[1])
    edge = _edge_samples(kspace, acquired)
    if edge.shape[1] == 0:
        return NoiseModel(np.eye(coils, dtype=np.complex128), "none", 0)
    model = NoiseModel(_robust_covariance(edge), "k-space edge", edge.shape[1])
    # Whitened by a right covariance, the calibration region has a null space of level 1 or more.
    below = null_space_level(whiten(kspace, model.covariance), acquired)
    if below is None or below > CONTAMINATED:
        return model
    level = null_space_level(kspace, acquired)
    if level is None or level**2 >= np.mean(model.levels**2):
        return model
    return NoiseModel(level**2 * np.eye(coils, dtype=np.complex128), "calibration null space", edge.shape[1])


def covariance_of(samples: np.ndarray) -> np.ndarray:
    """Return the covariance of noise (coil, samples), complex128 (coil, coil), shrunk to its diagonal.

    The mean is taken to be zero.  The weight of the diagonal is coils/(samples + coils): nothing for a noise
    scan, enough to keep the matrix invertible when there are few samples.
    """
    x = samples.astype(np.complex128)
    return _shrunk(x @ x.conj().T / x.shape[1], x.shape[1])


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
    """Return L with covariance = L Lᴴ (Cholesky), (coil, coil): it takes whitened data back to the file's."""
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


def _edge_samples(kspace: np.ndarray, acquired: np.ndarray) -> np.ndarray:
    """Return the acquired samples farthest from the centre, (coil, samples), leaving out exact zeros."""
    coils, readout, phase = kspace.shape
    y = (np.arange(readout) - readout // 2) / (readout / 2)
    x = (np.arange(phase) - phase // 2) / (phase / 2)
    radius = np.hypot(y[:, None], x[None, :])
    candidates = np.flatnonzero(acquired & (kspace != 0).any(axis=0))
    wanted = max(int(EDGE_FRACTION * candidates.size), EDGE_PER_COIL * coils)
    wanted = min(wanted, max(candidates.size // 2, min(candidates.size, 2 * coils)))
    farthest = np.argsort(-radius.ravel()[candidates], kind="stable")[:wanted]
    return kspace.reshape(coils, -1)[:, candidates[farthest]]


def _robust_covariance(samples: np.ndarray) -> np.ndarray:
    """Return the covariance of (coil, samples) in which a few samples hold signal.

    Shape by Tyler's M-estimator (Ann. Statist. 15 (1987) 234–251, complex samples), in which a sample counts
    by its direction over the coils and not its size; level from the median of nᴴΣ⁻¹n, which for complex
    Gaussian noise is Gamma(coils, 1).  For one coil that is median|n|² = σ² ln 2.
    """
    from scipy.special import gammaincinv

    x = samples.astype(np.complex128)
    coils, count = x.shape
    level = np.sqrt(np.mean(np.abs(x) ** 2, axis=1, keepdims=True))
    level = np.maximum(level, np.finfo(np.float32).tiny)
    x = x / level
    shape = np.eye(coils, dtype=np.complex128)
    for _ in range(TYLER_STEPS):
        new = _shrunk((x * (coils / _distance(x, shape))) @ x.conj().T / count, count)
        new *= coils / np.trace(new).real
        change = np.linalg.norm(new - shape)
        shape = new
        if change < 1e-4 * np.sqrt(coils):
            break
    scale = np.median(_distance(x, shape)) / gammaincinv(coils, 0.5)
    return shape * scale * level * level.T


def _distance(x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """nᴴ Σ⁻¹ n of each sample, (samples,), kept from zero."""
    squared = np.einsum("cn,cn->n", x.conj(), np.linalg.solve(shape, x)).real
    return np.maximum(squared, 1e-12 * squared.max())


def _shrunk(covariance: np.ndarray, samples: int) -> np.ndarray:
    weight = len(covariance) / (samples + len(covariance))
    return (1 - weight) * covariance + weight * np.diag(np.diagonal(covariance))
