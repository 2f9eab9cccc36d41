"""Coil compression: fewer virtual coils that hold nearly all of the signal."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mrunfold.errors import InputError

__all__ = ["compress", "compression_matrix"]

AUTO_ENERGY, AUTO_POWER = 0.995, 4.0


def compression_matrix(calibration: np.ndarray, keep: int | float | Literal["auto"]) -> np.ndarray:
    """Return V, complex128 (virtual, coil) with orthonormal rows, from whitened calibration data (coil, …).

    keep: the number of virtual coils (int), the fraction of the calibration data's energy they must hold
    (float in (0, 1]), or "auto": at least `AUTO_ENERGY` of it, and every virtual coil whose mean power there,
    where the signal is strongest, is above `AUTO_POWER` times that of the noise (1, once whitened).  The rows
    are the left singular vectors of the data as (coil, samples): Buehrer et al., Magn. Reson. Med. 57 (2007)
    1131–1139.  Raises InputError for a `keep` that cannot be met.
    """
    coils = len(calibration)
    by_number = isinstance(keep, int) and not isinstance(keep, bool)
    if by_number and not 1 <= int(keep) <= coils:
        raise InputError(f"cannot keep {keep} virtual coils of {coils}; give a number from 1 to {coils}")
    by_noise = keep == "auto"
    share = AUTO_ENERGY if isinstance(keep, str) else float(keep)
    if not by_number and not 0 < share <= 1:
        raise InputError(f"the energy to keep is a fraction in (0, 1], got {keep}; or give a number of coils")
    data = calibration.reshape(coils, -1).astype(np.complex128)
    values, vectors = np.linalg.eigh(data @ data.conj().T)  # ascending
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    if by_number:
        count = int(keep)
    else:
        held = np.cumsum(values) / max(values.sum(), np.finfo(float).tiny)
        count = min(int(np.searchsorted(held, share * (1 - 1e-12))) + 1, coils)
        if by_noise:
            count = max(count, int((values > AUTO_POWER * data.shape[1]).sum()))
    return vectors[:, :count].conj().T


def compress(kspace: np.ndarray, calibration: np.ndarray, keep: int | float | Literal["auto"]) -> np.ndarray:
    """Return whitened k-space (coil, …) in virtual coils (virtual, …), complex64; white noise stays white.

    calibration, keep: as `compression_matrix`.
    """
    matrix = compression_matrix(calibration, keep)
    return apply_matrix(matrix, kspace)


def apply_matrix(matrix: np.ndarray, kspace: np.ndarray) -> np.ndarray:
    """Return matrix (new, coil) applied over the coils of (coil, …), complex64."""
    mixed = matrix.astype(np.complex64) @ kspace.reshape(len(kspace), -1)
    return mixed.reshape(len(matrix), *kspace.shape[1:])
