"""Where the samples of an ISMRMRD acquisition lie in k-space."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding, Limits

__all__ = ["line_numbers", "placed"]

log = logging.getLogger(__name__)


def line_numbers(
    path: Path,
    heads: dict[str, np.ndarray],
    encoding: Encoding,
    order: np.ndarray,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Return each acquisition's line and partition, how many of these there are, and whether it is loose.

    loose: a central line of the header had to be disregarded.
    There is one partition, and 0 everywhere, where no acquisition has a second phase encoding.
    """
    steps = heads["idx.kspace_encode_step_1"], heads["idx.kspace_encode_step_2"]
    partitions = encoding.encoded.matrix[2]
    line, loose = _numbers(path, steps[0], encoding.encoded.matrix[1], encoding.step1, order, "lines")
    if int(np.ptp(steps[1][order])) == 0:
        if partitions > 1:
            notes.append(
                f"the header announces {partitions} partitions and no acquisition has a second phase "
                "encoding: read as 2-D"
            )
        return line, np.zeros_like(steps[1]), 1, loose
    what = "partitions of a 3-D scan"
    partition, also = _numbers(path, steps[1], partitions, encoding.step2, order, what)
    return line, partition, partitions, loose or also


def _numbers(
    path: Path, step: np.ndarray, count: int, limits: Limits | None, order: np.ndarray, what: str
) -> tuple[np.ndarray, bool]:
    centre = limits.center if limits else count // 2
    line = step - centre + count // 2
    first, last = int(line[order].min()), int(line[order].max())
    if first >= 0 and last < count:
        return line, False
    if last - first < count:
        return line - (first if first < 0 else last - count + 1), True
    outside = (line[order] < 0) | (line[order] >= count)
    raise InputError(
        f"{path}: encode step {int(step[order][outside][0])} with centre {centre} lies outside the "
        f"encoded matrix of {count} {what}; the encoding limits are wrong"
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
