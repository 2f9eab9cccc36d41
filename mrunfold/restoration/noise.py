"""The noise of a photograph, from itself."""

from __future__ import annotations

import numpy as np

from mrunfold.errors import InputError

__all__ = ["estimate_noise"]

PATCH = 8
LEAST, MOST = 600, 20_000  # patches needed, and looked at
ENOUGH = 15  # patches for each of their dimensions
ROUNDS = 4


def estimate_noise(image: np.ndarray, seen: np.ndarray | None = None) -> float:
    """Return the standard deviation σ of white noise in an image (channel, y, x), in the image's units.

    seen: bool (y, x), pixels that hold a measurement; None for all.  The smallest eigenvalues of the
    covariance of 8×8 patches of all channels are those of noise alone; how many there are is where their mean
    and median agree (Chen, Zhu and Heng, ICCV (2015), Alg. 1).  This is done again with the patches that have
    no more gradient than the noise found has (Liu, Tanaka and Okutomi, IEEE TIP 22 (2013), sec. III).
    InputError where too few patches are whole.
    """
    patches = _patches(image, seen)
    if len(patches) < LEAST:
        raise InputError(
            f"the image has {len(patches)} whole 8×8 patches, too few to estimate its noise; give `noise` σ"
        )
    energy, mean, deviation = _gradients(patches, image.shape[0])
    sigma = _of_eigenvalues(patches)
    for _ in range(ROUNDS):
        plain = energy <= sigma**2 * (mean + 2.5 * deviation)
        if plain.sum() < ENOUGH * patches.shape[1]:
            break  # the smallest eigenvalues of few patches are too small
        sigma = _of_eigenvalues(patches[plain])
    return sigma


def _of_eigenvalues(patches: np.ndarray) -> float:
    values = np.sort(np.linalg.eigvalsh(np.cov(patches, rowvar=False)))[::-1]
    for first in range(len(values)):
        rest = values[first:]
        if np.mean(rest) <= np.median(rest):
            break
    return float(np.sqrt(max(float(np.mean(rest)), 0.0)))


def _gradients(patches: np.ndarray, channels: int) -> tuple[np.ndarray, float, float]:
    """Return each patch's squared differences, and the mean and deviation of that for noise of variance 1."""
    p = patches.reshape(-1, channels, PATCH, PATCH)
    energy = sum((np.diff(p, axis=axis) ** 2).sum(axis=(1, 2, 3)) for axis in (2, 3))
    d = np.diff(np.eye(PATCH), axis=0)
    gram = np.kron(d.T @ d, np.eye(PATCH)) + np.kron(np.eye(PATCH), d.T @ d)
    return energy, channels * np.trace(gram), float(np.sqrt(2 * channels * np.sum(gram**2)))


def _patches(image: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """Return whole patches (n, channel · 64), spread over the image."""
    channels, height, width = image.shape
    if min(height, width) < PATCH:
        return np.zeros((0, channels * PATCH**2))
    step = max(1, round((height * width / MOST) ** 0.5))
    window = (PATCH, PATCH)
    views = np.lib.stride_tricks.sliding_window_view(image, window, axis=(-2, -1))[:, ::step, ::step]
    flat = np.moveaxis(views, 0, 2).reshape(-1, channels * PATCH**2).astype(np.float64)
    # A patch of pure black or white has lost its noise to clipping.
    whole = ((flat <= 0) | (flat >= 1)).mean(axis=1) < 0.1
    if seen is not None:
        windows = np.lib.stride_tricks.sliding_window_view(seen, window)[::step, ::step]
        whole &= windows.all(axis=(-2, -1)).ravel()
    return flat[whole]
