"""Phase-encoding lines that a scan should have and does not: it was stopped, or its header promises more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding

__all__ = ["incomplete_slices", "refuse_incomplete", "unreached"]

COMPLETE = 0.9  # of the other slices' lines; a slice with fewer is not finished
NEAR_CENTRE = 0.1  # of the lines; a slice without any so near has no low resolution to begin with


def incomplete_slices(lines: list[list[int]], phase: int) -> dict[int, str]:
    """Return what there is to say of slices that were not finished, by their number.

    lines: those of each slice in the order of measurement; phase: lines of the matrix.  A slice is not
    finished where it has the first lines only of those that most others have, or where it does not reach the
    centre of k-space.
    """
    common = Counter(map(tuple, lines))
    wanted = max(common, key=lambda one: (common[one], len(one)))
    found = {}
    for index, one in enumerate(lines):
        count = len(set(one))
        if len(one) < COMPLETE * len(wanted) and tuple(one) == wanted[: len(one)]:
            found[index] = f"slice {index} of {len(lines)} has {count} of {len(set(wanted))} lines"
        elif min(abs(line - phase // 2) for line in one) > max(2, NEAR_CENTRE * phase):
            has = f"slice {index} of {len(lines)} has {count} of {phase} lines"
            found[index] = f"{has} and none near the centre of k-space"
    return found


def refuse_incomplete(path: Path, found: dict[int, str], indices: list[int], slices: int) -> None:
    """Raise InputError where one of the slices `indices` was not finished, and say which were."""
    bad = next((index for index in indices if index in found), None)
    if bad is None:
        return
    whole = [index for index in range(slices) if index not in found]
    if not whole:
        way_out = "the scan was stopped before it was whole"
    elif whole == list(range(len(whole))):
        way_out = f"leave it out with --slices 0:{len(whole)}"
    else:
        way_out = f"leave it out with --slices {','.join(map(str, whole[:20]))}{',…' if whole[20:] else ''}"
    raise InputError(f"{path}: {found[bad]}; {way_out}")


def unreached(lines: np.ndarray, encoding: Encoding) -> list[str]:
    """Return a note where the header's limits go farther than any line that was acquired."""
    if encoding.step1 is None:
        return []
    shift = encoding.encoded.matrix[1] // 2 - encoding.step1.center
    first, last = encoding.step1.minimum + shift, encoding.step1.maximum + shift
    here = np.unique(lines)
    gap = max(2, int(np.diff(here).max(initial=1)))
    missing = [max(int(here[0]) - first, 0), max(last - int(here[-1]), 0)]
    if max(missing) <= gap:
        return []
    return [
        f"the header announces lines {encoding.step1.minimum} to {encoding.step1.maximum} and only "
        f"{int(here[0]) - shift} to {int(here[-1]) - shift} were acquired"
    ]
