"""The noise level from the calibration region: what neighbouring samples of all coils cannot predict."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mrunfold.coils.calibration import calibration_block
from mrunfold.errors import InputError

__all__ = ["null_space_level"]

KERNEL = 6
WIDTH, LENGTH = 24, 48  # of the block looked at, phase and readout
TAIL = 0.1  # of the singular values, the smallest
SQUARE = 0.7  # rows over columns: the smallest singular values of nearly square noise are erratic


def null_space_level(kspace: np.ndarray, acquired: np.ndarray) -> float | None:
    """Return σ = √E|n|² of k-space (coil, readout, phase) with equal noise in all coils, or None.

    Windows of the calibration region, as rows of a matrix, span few directions, for coils are smooth and the
    object is bounded: the null space of ESPIRiT (Uecker et al., Magn. Reson. Med. 71 (2014)).  The smallest
    singular values are of noise, and are compared with those of white noise in a block of the same shape.
    Signal can only make σ too large; with fewer than about four coils it often does.  None where the region
    is too small.
    """
    try:
        block = calibration_block(kspace, acquired, LENGTH, KERNEL)
    except InputError:
        return None  # too small a region: the caller keeps its other estimate
    window = (KERNEL, min(KERNEL, max(2, block.shape[2] // 2)))
    extra = max(0, block.shape[2] - WIDTH)
    block = block[:, :, extra // 2 : block.shape[2] - (extra - extra // 2)]
    block = _not_square(block, window)
    peak = np.abs(block).max(initial=0)
    if peak == 0 or min(_rows(block, window), window[0] * window[1] * len(block)) < 2 / TAIL:
        return None
    found, expected = _singular_values(_windows(block / peak, window)), _of_noise(block.shape, window)
    tail = max(3, int(TAIL * len(found)))
    return float(peak * np.median(found[:tail] / expected[:tail]))


@lru_cache(maxsize=8)
def _of_noise(shape: tuple[int, int, int], window: tuple[int, int]) -> np.ndarray:
    """Return the singular values of white noise of E|n|² = 1; the slices of a volume have one shape."""
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)
    return _singular_values(_windows(noise, window))


def _rows(block: np.ndarray, window: tuple[int, int]) -> int:
    return (block.shape[1] - window[0] + 1) * (block.shape[2] - window[1] + 1)


def _not_square(block: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Shorten the readout until the matrix of windows is clearly wide, where it is neither wide nor tall."""
    columns = window[0] * window[1] * len(block)
    if not SQUARE < _rows(block, window) / columns < 1 / SQUARE:
        return block
    length = int(SQUARE * columns / (block.shape[2] - window[1] + 1)) + window[0] - 1
    start = (block.shape[1] - length) // 2
    return block[:, start : start + length]


def _windows(block: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    view = np.lib.stride_tricks.sliding_window_view(block, window, axis=(1, 2))
    return view.transpose(1, 2, 0, 3, 4).reshape(view.shape[1] * view.shape[2], -1)


def _singular_values(matrix: np.ndarray) -> np.ndarray:
    """Return the singular values, smallest first, as roots of the smaller Gram matrix's eigenvalues.

    A third of the time of an SVD; in double precision right to 1e-8 of the largest, far below any noise.
    """
    wide = matrix.astype(np.complex128)
    if wide.shape[0] > wide.shape[1]:
        wide = wide.conj().T
    return np.sqrt(np.linalg.eigvalsh(wide @ wide.conj().T).clip(min=0))
