"""The noise at the edge of k-space, and whether it is a floor: noise alone, unfiltered."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

__all__ = ["EdgeNoise", "edge_noise"]

EDGE_FRACTION = 0.02  # of the acquired samples; farther in, the signal grows quickly
EDGE_PER_COIL = 20  # samples a coil at least: the covariance is then known to about 1/√20
SHELLS = (1, 2, 4, 8)  # of the edge's samples, from outside: where a floor would go on
FLAT = 1.35  # energy of the loudest shell over the quietest; both a filter and signal exceed it
NOTHING = 1e-5  # of the root mean square: below it there are rounding errors of a filter's stop band
TYLER_STEPS = 50


@dataclass(frozen=True)
class EdgeNoise:
    """covariance: of the outermost samples, complex128 (coil, coil); samples: how many; flat: are those next
    to them as loud, as noise is and neither signal nor filtered noise would be."""

    covariance: np.ndarray
    samples: int
    flat: bool


def edge_noise(kspace: np.ndarray, acquired: np.ndarray) -> EdgeNoise | None:
    """Return the noise of the acquired samples farthest from the centre of k-space (coil, readout, phase).

    acquired: bool (readout, phase).  Samples that are zero, or nothing but rounding errors, are left out.
    None where no other is there.
    """
    coils, readout, phase = kspace.shape
    loudest = np.where(acquired, np.abs(kspace).max(axis=0), 0)
    peak = float(loudest.max(initial=0))
    if peak == 0:
        return None
    rms = peak * float(np.sqrt(np.mean((loudest[acquired] / peak) ** 2, dtype=np.float64)))
    candidates = np.flatnonzero(loudest > NOTHING * rms)
    y = (np.arange(readout) - readout // 2) / (readout / 2)
    x = (np.arange(phase) - phase // 2) / (phase / 2)
    radius = np.hypot(y[:, None], x[None, :]).ravel()[candidates]
    wanted = max(int(EDGE_FRACTION * candidates.size), EDGE_PER_COIL * coils)
    wanted = min(wanted, max(candidates.size // 2, min(candidates.size, 2 * coils)))
    outwards = candidates[np.argsort(-radius, kind="stable")[: sum(SHELLS) * wanted]]
    samples = kspace.reshape(coils, -1)[:, outwards]
    covariance = robust_covariance(samples[:, :wanted])
    return EdgeNoise(covariance, wanted, _is_flat(samples, wanted))


def _is_flat(samples: np.ndarray, wanted: int) -> bool:
    """Return whether shells of (coil, samples), from outside, have equal energy, by its median."""
    bounds = np.cumsum((0, *SHELLS)) * wanted
    level = np.sqrt(np.median(np.abs(samples[:, :wanted].astype(np.complex128)) ** 2, axis=1, keepdims=True))
    relative = np.abs(samples / np.maximum(level, np.finfo(np.float32).tiny)) ** 2
    found = [np.median(relative[:, a:b]) for a, b in pairwise(bounds) if b <= samples.shape[1]]
    # The median of n exponentials is known to about 1/(ln 2 √n).
    allowed = FLAT + 4 / np.sqrt(wanted * len(samples))
    return len(found) > 1 and max(found) <= allowed * min(found)


def robust_covariance(samples: np.ndarray) -> np.ndarray:
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
        new = shrunk((x * (coils / _distance(x, shape))) @ x.conj().T / count, count)
        new *= coils / np.trace(new).real
        change = np.linalg.norm(new - shape)
        shape = new
        if change < 1e-4 * np.sqrt(coils):
            break
    scale = np.median(_distance(x, shape)) / gammaincinv(coils, 0.5)
    return shape * scale * level * level.T


def shrunk(covariance: np.ndarray, samples: int) -> np.ndarray:
    """Return a covariance of so many samples, moved towards its diagonal by coils/(samples + coils)."""
    weight = len(covariance) / (samples + len(covariance))
    return (1 - weight) * covariance + weight * np.diag(np.diagonal(covariance))


def _distance(x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """nᴴ Σ⁻¹ n of each sample, (samples,), kept from zero."""
    squared = np.einsum("cn,cn->n", x.conj(), np.linalg.solve(shape, x)).real
    return np.maximum(squared, 1e-12 * squared.max())
