"""The expected root sum of squares of noisy coil images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.coils.transform import CoilTransform
    from mrunfold.io.scan import Header

__all__ = ["effective_coils", "expected_rss", "rss_noise"]

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


def rss_noise(coils: CoilTransform, held: np.ndarray, header: Header, record: dict[str, Any]) -> Tensor:
    """Return (√Σ_c σ_c², effective coils, share of k-space) of a fully sampled scan, and tell the record.

    The Fourier transform is unitary and so is the removal of oversampling: noise of an image's pixel is that
    of a sample, less where k-space is zero filled.
    """
    share = _sampled_share(held, header)
    rms = float(np.sqrt(np.trace(coils.covariance).real * share)) if coils.signal else 0.0
    effective = effective_coils(coils.covariance)
    record["noise"] |= {
        "rss_rms": float(f"{rms:.4g}"),
        "effective_coils": float(f"{effective:.4g}"),
        "share_of_kspace": float(f"{share:.4g}"),
    }
    return torch.tensor([rms, effective, share])


def _sampled_share(held: np.ndarray, header: Header) -> float:
    """Return the share of k-space that full sampling would fill: the rectangle around what is held.

    Where that has gaps and the file says its padding, the lines are those within the padding.  Of two phase
    encodings it is the header's region.
    """
    if header.region is not None:
        return float(header.region.mean())
    padding = header.padding
    rows, lines = (np.flatnonzero(held.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return 1.0
    box = held[rows[0] : rows[-1] + 1, lines[0] : lines[-1] + 1]
    width = box.shape[1]
    if padding is not None and not box.all():
        width = max(width, min(padding[1], held.shape[1]) - max(padding[0], 0))
    return box.shape[0] * width / held.size
