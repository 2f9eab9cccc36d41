"""Where the samples of an ISMRMRD acquisition lie in k-space."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding

__all__ = ["line_numbers", "placed"]

log = logging.getLogger(__name__)


def line_numbers(
    path: Path, step: np.ndarray, encoding: Encoding, order: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Return each acquisition's line, and whether the header's central line had to be disregarded."""
    phase = encoding.encoded.matrix[1]
    centre = encoding.step1.center if encoding.step1 else phase // 2
    line = step - centre + phase // 2
    first, last = int(line[order].min()), int(line[order].max())
    if first >= 0 and last < phase:
        return line, False
    if last - first < phase:
        return line - (first if first < 0 else last - phase + 1), True
    outside = (line[order] < 0) | (line[order] >= phase)
    raise InputError(
        f"{path}: encode step {int(step[order][outside][0])} with centre {centre} lies outside the "
        f"encoded matrix of {phase} lines; the encoding limits are wrong"
    )


def placed(
    path: Path, heads: dict[str, np.ndarray], readout: int, reverse: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (start, stop, centre) of each readout's samples once turned round."""
    samples, centre = heads["number_of_samples"], heads["center_sample"]
    # A writer that leaves the centre of a complete readout at 0 has not set it.
    unset = (centre == 0) & (samples == readout)
    if unset[order].any():
        log.info("%s: center_sample is not set, N//2 is taken", path.name)
    centre = np.where(unset, samples // 2, centre)
    centre = np.where(reverse, samples - 1 - centre, centre)
    start = np.where(reverse, heads["discard_post"], heads["discard_pre"])
    stop = samples - np.where(reverse, heads["discard_pre"], heads["discard_post"])
    shift = readout // 2 - centre
    # One sample may fall out: turned round, an even readout's centre moves by one.
    fits = (stop > start) & (start + shift >= -1) & (stop + shift <= readout + 1)
    if not fits[order].all():
        worst = int(order[np.argmin(fits[order])])
        raise InputError(
            f"{path}: acquisition {worst} has {int(samples[worst])} samples centred at "
            f"{int(heads['center_sample'][worst])}, which do not fit the encoded matrix of {readout}; "
            "the header is wrong or the readout is not Cartesian"
        )
    return start, stop, centre
