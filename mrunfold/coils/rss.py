"""Root sum of squares of noisy coil images: what to expect of it."""

from __future__ import annotations

import numpy as np

from mrunfold.errors import InputError

__all__ = ["effective_coils", "expected_rss"]

NODES = 1024
MANY = 32  # effective coils from which two moments give the mean to 1e-5


def effective_coils(covariance: np.ndarray) -> float:
    """Return (tr Σ)² / tr Σ² of the noise covariance (coil, coil): the coils, where their noise is white.

    So many coils of equal, independent noise have a sum of squares of the same mean and variance.
    Aja-Fernández et al., Magn. Reson. Imaging 29 (2011) 1180–1191.
    """
    total = float(np.trace(covariance).real)
    return total**2 / float(np.sum(np.abs(covariance) ** 2))


def expected_rss(signal: np.ndarray, variance: float, coils: float) -> np.ndarray:
    """Return E √(Σ_c |m_c + n_c|²), where √(Σ_c |m_c|²) is `signal` ≥ 0; the same shape, float32.

    variance: Σ_c E|n_c|², all coils together; coils: number of them, or `effective_coils`.  The root sum of
    squares has a noncentral chi distribution of 2·coils degrees of freedom (Constantinides et al., Magn.
    Reson. Med. 38 (1997) 852–857): E = σ Γ(L + ½)/Γ(L) ₁F₁(−½; L; −signal²/σ²), σ² = variance/L.
    InputError for a negative variance or less than one coil.
    """
    if not (variance >= 0 and coils >= 1 - 1e-6):
        raise InputError(
            f"the noise of a root sum of squares has a variance ≥ 0 and at least one coil, got {variance} "
            f"and {coils}"
        )
    if variance == 0:
        return np.asarray(signal, np.float32)
    # In shares of the root mean square, which the mean never leaves by more than 11 %: a smooth function
    # of how much of the power is signal.
    power = np.square(signal, dtype=np.float64)
    share = np.linspace(0, 1, NODES)
    ratio = np.interp(power / (power + variance), share, _mean_over_rms(share, max(coils, 1.0)))
    return (ratio * np.sqrt(power + variance)).astype(np.float32)


def _mean_over_rms(share: np.ndarray, coils: float) -> np.ndarray:
    """Return mean over root mean square, (node,), where `share` of the power is signal."""
    from scipy.special import gammaln, hyp1f1

    noise = 1 - share  # the variance in the same unit
    if coils > MANY:
        # E√S ≈ √E[S] (1 − Var[S]/(8 E[S]²)); SciPy's ₁F₁ overflows for many coils.
        return 1 - (noise**2 + 2 * noise * share) / coils / 8
    per_coil = np.maximum(noise / coils, 1e-12)
    scale = np.exp(gammaln(coils + 0.5) - gammaln(coils))
    return scale * np.sqrt(per_coil) * hyp1f1(-0.5, coils, -share / per_coil)
