"""Image quality as fastMRI counts it, and coverage; the data range is always the caller's to say."""

from __future__ import annotations

import math

import numpy as np

from mrunfold.errors import InputError

__all__ = ["coverage", "crps", "crps_normal", "nmse", "psnr", "sample_interval", "score", "ssim"]

SSIM_WINDOW = 7
ORDINARY = (1e-12, 1e12)  # data ranges for which float32 has room, as fastMRI counts


def nmse(target: np.ndarray, recon: np.ndarray) -> float:
    """Return ‖target − recon‖² / ‖target‖² of two real volumes (slice, y, x), as `fastmri.evaluate.nmse`.

    InputError if shapes differ, a value is not finite, or the target is zero everywhere.
    """
    target, recon = _pair(target, recon)
    norm = float(np.sum(np.square(target, dtype=np.float64)))
    if norm == 0:
        raise InputError("NMSE divides by the target's norm, which is zero here; leave empty volumes out")
    return _squared_error(target, recon) / norm


def psnr(target: np.ndarray, recon: np.ndarray, *, data_range: float) -> float:
    """Return 10 log₁₀(data_range² / mean squared error) in dB of two real volumes (slice, y, x).

    fastMRI's data_range is the maximum of the target volume, `fastmri.evaluate.psnr`.  Equal volumes: inf.
    InputError if shapes differ, a value is not finite, or data_range is not above 0.
    """
    target, recon = _pair(target, recon)
    peak = _range(data_range)
    error = _squared_error(target, recon) / target.size
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(target: np.ndarray, recon: np.ndarray, *, data_range: float) -> float:
    """Return the mean over slices of the structural similarity of two real volumes (slice, y, x).

    A 7×7 uniform window, K₁ = 0.01, K₂ = 0.03, sample covariance, as `fastmri.evaluate.ssim`, whose
    data_range is the maximum of the target volume.  Wang et al., IEEE Trans. Image Process. 13
    (2004), eq. 13.  InputError if shapes differ or are not (slice, y ≥ 7, x ≥ 7), a value is not finite, or
    data_range is not above 0.
    """
    from skimage.metrics import structural_similarity

    target, recon = _pair(target, recon)
    peak = _range(data_range)
    if target.ndim != 3 or min(target.shape[1:]) < SSIM_WINDOW:
        raise InputError(
            f"SSIM expects a volume (slice, y ≥ {SSIM_WINDOW}, x ≥ {SSIM_WINDOW}), got {target.shape}; "
            "add the slice axis with image[None]"
        )
    if not ORDINARY[0] < peak < ORDINARY[1]:  # its square is none in float32
        unit = np.float64(2.0) ** round(math.log2(peak))
        target, recon, peak = target / unit, recon / unit, peak / unit
    pairs = zip(target, recon, strict=True)
    return float(
        np.mean([structural_similarity(t, r, win_size=SSIM_WINDOW, data_range=peak) for t, r in pairs])
    )


def score(target: np.ndarray, recon: np.ndarray, *, data_range: float) -> dict[str, float]:
    """Return {"nmse", "psnr", "ssim"} of two real volumes (slice, y, x); errors as each of them."""
    return {
        "nmse": nmse(target, recon),
        "psnr": psnr(target, recon, data_range=data_range),
        "ssim": ssim(target, recon, data_range=data_range),
    }


def coverage(target: np.ndarray, low: np.ndarray, high: np.ndarray, inside: np.ndarray) -> float:
    """Return the fraction of the pixels `inside` at which low ≤ target ≤ high; all of one shape, inside bool.

    InputError if shapes differ, a value inside is not finite, low exceeds high, or nothing is inside.
    """
    inside = np.asarray(inside)
    arrays = [np.asarray(a) for a in (target, low, high)]
    if inside.dtype != bool or any(a.shape != inside.shape for a in arrays):
        raise InputError(
            "coverage expects target, low, high and a bool `inside` of one shape, got "
            f"{', '.join(str(a.shape) for a in arrays)} and {inside.dtype} {inside.shape}"
        )
    if not inside.any():
        raise InputError("coverage has no pixel to count: `inside` is False everywhere")
    target, low, high = (_real(a[inside], n) for a, n in zip(arrays, ("target", "low", "high"), strict=True))
    if (low > high).any():
        raise InputError("coverage expects low ≤ high, got the reverse; swap the two")
    return float(np.mean((low <= target) & (target <= high)))


def sample_interval(samples: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high) of real samples (draw, …): one more draw would lie between with probability `share`.

    The order statistics of ranks (n + 1)·p, interpolated (type 6 of Hyndman and Fan, Am. Stat. 50 (1996)
    361–365, eq. 6), p = (1 ∓ share)/2; fewer than 2/(1 − share) − 1 draws, 19 for 0.9, cannot reach so far,
    and their extremes stand there.  The usual ranks (n − 1)·p + 1 would cover 0.85 with 32 draws, not 0.9.
    InputError for fewer than 2 draws or a share outside (0, 1).
    """
    if len(samples) < 2 or not 0 < share < 1:
        raise InputError(f"an interval needs 2 draws and a share in (0, 1), got {len(samples)} and {share}")
    ends = ((1 - share) / 2, (1 + share) / 2)
    low, high = np.quantile(samples, ends, axis=0, method="weibull")
    return low, high


def crps(target: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score of real samples (draw, …) at each pixel of target (…).

    In the target's unit, of the draws as they are, each with probability 1/n; the absolute error for one
    draw; less is better: E|X − t| − E|X − X′|/2 (Gneiting and Raftery, J. Am. Stat. Assoc. 102 (2007)
    359).  InputError if shapes differ or a value is not finite.
    """
    samples, target = _real(np.asarray(samples), "samples"), _real(np.asarray(target), "target")
    if samples.shape[1:] != target.shape or not len(samples):
        raise InputError(f"crps expects samples (draw, {target.shape}), got {samples.shape}")
    n = len(samples)
    # Sorted, a draw is the larger one of k pairs and the smaller one of n − 1 − k.
    rank = (2 * np.arange(n) - (n - 1)).reshape(-1, *(1,) * target.ndim)
    apart = (rank * np.sort(samples, axis=0)).sum(axis=0) / n**2
    return np.abs(samples - target).mean(axis=0) - apart


def crps_normal(target: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score of N(mean, sd²) at each pixel of target.

    In the target's unit; the absolute error where sd is 0; with z = (target − mean)/sd and φ, Φ the normal
    density and distribution: sd (z(2Φ(z) − 1) + 2φ(z) − 1/√π) (Gneiting and Raftery, J. Am. Stat. Assoc. 102
    (2007) 359, eq. 5).  InputError if shapes differ or a value is not finite.
    """
    from scipy.special import ndtr

    target, mean = _pair(target, mean)
    sd = _pair(target, sd)[1].astype(np.float64)
    off = np.abs(target.astype(np.float64) - mean)
    z = off / np.where(sd > 0, sd, 1)
    score = sd * (z * (2 * ndtr(z) - 1) + 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi))
    return np.where(sd > 0, score, off)


def _squared_error(target: np.ndarray, recon: np.ndarray) -> float:
    difference = target.astype(np.float64) - recon
    return float(np.sum(difference**2))


def _pair(target: np.ndarray, recon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    target, recon = _real(np.asarray(target), "target"), _real(np.asarray(recon), "recon")
    if target.shape != recon.shape:
        raise InputError(
            f"target and recon differ in shape: {target.shape} and {recon.shape}; crop both alike"
        )
    return target, recon


def _real(array: np.ndarray, what: str) -> np.ndarray:
    """Return a real, finite, non-empty array in floating point: integers would wrap when subtracted."""
    if np.iscomplexobj(array):
        raise InputError(f"{what} is complex; metrics compare magnitudes: give np.abs({what})")
    if (
        not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer))
        or not array.size
    ):
        raise InputError(f"{what} must be an array of numbers, got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{what} has values that are not finite; find where they come from before scoring")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _range(data_range: float) -> float:
    value = float(data_range)
    if not 0 < value < math.inf:
        raise InputError(
            f"data_range must be finite and above 0, got {value}; fastMRI's is the target volume's maximum"
        )
    return value
