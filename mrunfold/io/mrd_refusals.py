"""ISMRMRD acquisitions that are no Cartesian images, told by the acquisitions themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding
from mrunfold.io.mrd_heads import flagged

__all__ = ["refuse_epi", "refuse_trajectory", "refuse_unlabelled"]


def refuse_trajectory(path: Path, encoding: Encoding) -> None:
    if encoding.trajectory != "cartesian":
        raise InputError(
            f"{path}: its trajectory is {encoding.trajectory}; Cartesian, radial and spiral scans are read; "
            "grid it first"
        )


def refuse_epi(path: Path, flags: np.ndarray, keys: np.ndarray, order: np.ndarray) -> None:
    """Refuse images of both readout directions that come with phase-correction lines."""
    if not flagged(flags, "phase correction").any():
        return
    reverse = flagged(flags, "reverse")[order]
    _, which = np.unique(keys[order], axis=0, return_inverse=True)
    which = which.reshape(-1)
    backwards = np.bincount(which, reverse)
    if ((backwards > 0) & (backwards < np.bincount(which))).any():
        raise InputError(
            f"{path}: an EPI scan, whatever its header calls it: lines of both readout directions in one "
            "image, and phase-correction lines; Cartesian scans are read, correct and grid it first"
        )


def refuse_unlabelled(path: Path, step: np.ndarray, keys: np.ndarray) -> None:
    """Refuse images whose lines all have one number."""
    _, counts = np.unique(keys, axis=0, return_counts=True)
    if counts.max() > 1 and len(np.unique(step)) == 1:
        raise InputError(
            f"{path}: {len(step)} acquisitions all have kspace_encode_step_1 {int(step[0])}: the labels are "
            "not set; write the number of its line into each acquisition"
        )
