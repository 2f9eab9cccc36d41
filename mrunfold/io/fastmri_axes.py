"""The order of axes in files that look like fastMRI's: (slice, coil, readout, phase), or a word what to do.

fastMRI's prostate files have averages before it: (average, slice, coil, readout, phase), each with a part of
the lines (https://github.com/cai2r/fastMRI_prostate, Tibrewala et al., Sci Data 11:404, 2024).
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding

__all__ = [
    "advice", "average_axis", "check_axes", "coils_last", "combined", "lines_along_readout", "missing_ends",
]  # fmt: skip

FEW_LINES, MANY_COILS = 32, 64  # with so few lines and so many coils, coils are the last axis
BESIDE = 0.05  # of the energy of the centre's line, at least, is in those next to it
PEAKED, LEAST = 0.25, 8  # of an axis hold its energy: an axis of k-space; fewer coils say nothing


def advice(stored: h5py.Dataset) -> str:
    """Return what to do about a `kspace` that is not complex or has too few axes, "" where unknown."""
    shape, kind = stored.shape, stored.dtype.kind
    names = list(stored.dtype.names or ())
    if kind == "V" and len(names) == 2:
        return f"; write k['{names[0]}'] + 1j * k['{names[1]}']"
    if kind in "fiu":
        twos = [axis for axis, n in enumerate(shape) if n == 2]
        if not twos:
            return "; k-space cannot be had out of magnitudes: write the complex samples"
        axis = len(shape) - 1 if shape[-1] == 2 else twos[0]
        parts = f"k.take(0, {axis}) + 1j * k.take(1, {axis})"
        return f"; if axis {axis} has real and imaginary parts, write {parts}"
    if kind == "c" and len(shape) == 2 and 0 not in shape:
        return "; of one slice and one coil write k[None]"
    return ""


def average_axis(path: Path, shape: tuple[int, ...], slices: int | None, readout: int | None) -> int | None:
    """Return which axis of k-space holds averages, None where none does; InputError where that is unclear.

    slices, readout: how many the file has, as its header or its own images say.
    """
    if len(shape) != 5:
        return None
    fits = [axis for axis in (0, 1) if shape[1 - axis] == slices != shape[axis]]
    if fits and readout in (None, shape[3]):
        return fits[0]
    raise InputError(
        f"{path}: 'kspace' has 5 axes, {shape}; if the first has {shape[0]} averages, as in fastMRI's "
        "prostate files, write their mean over what was acquired, k.sum(0) / np.maximum((k != 0).sum(0), 1), "
        "as (slice, coil, readout, phase)"
    )


def missing_ends(lines: int, encoding: Encoding | None) -> tuple[int, int]:
    """Return how many lines of the encoded matrix k-space lacks before its first and after its last one.

    fastMRI's prostate files hold the lines that were measured alone, as many as the encoding limits count.
    """
    if encoding is None or encoding.step1 is None or lines != encoding.step1.maximum + 1:
        return 0, 0
    whole = encoding.encoded.matrix[1]
    before = whole // 2 - encoding.step1.center
    after = whole - before - lines
    return (before, after) if min(before, after) >= 0 else (0, 0)


def combined(kspace: np.ndarray) -> np.ndarray:
    """Return the mean over averages (average, coil, readout, phase) of what each of them acquired."""
    acquired = (kspace != 0).any(axis=1, keepdims=True)
    return kspace.sum(axis=0) / np.maximum(acquired.sum(axis=0), 1).astype(np.float32)


def check_axes(path: Path, shape: tuple[int, ...], encoding: Encoding | None) -> None:
    """Raise InputError, with the line that helps, where axes cannot be (slice, coil, readout, phase)."""
    if len(shape) != 4:
        return
    _, coils, readout, phase = shape
    said = encoding.coils if encoding else None
    last = phase == said != coils or (phase <= FEW_LINES and coils >= MANY_COILS and readout > phase)
    if last:
        raise InputError(
            f"{path}: 'kspace' {shape} would be {coils} coils of {readout}×{phase} samples; its last axis "
            "seems to be the coils: write k.transpose(0, 3, 1, 2), (slice, coil, readout, phase)"
        )
    if encoding is None:
        return
    if shape[0] == said != coils and coils == encoding.slices:
        raise InputError(
            f"{path}: 'kspace' {shape} has the {said} coils of its header first and the {coils} slices "
            "second; write k.swapaxes(0, 1), (slice, coil, readout, phase)"
        )
    x, y = encoding.encoded.matrix[:2]
    if phase == x != readout and (readout == y or encoding.recon.matrix[0] * 2 == x):
        raise InputError(
            f"{path}: 'kspace' {shape} has the {x} readout samples of its header on the last axis: the phase "
            "encoding is first; write k.swapaxes(-1, -2), (slice, coil, readout, phase)"
        )


def coils_last(kspace: np.ndarray) -> bool:
    """Return whether the energy of a slice, (coil, readout, phase) by its place, says (ky, kz, coil).

    Along an axis of k-space energy lies about the centre; over coils it is spread.
    """
    if len(kspace) < LEAST:
        return False
    power = np.square(np.abs(kspace / max(float(np.abs(kspace).max(initial=0)), 1e-38)), dtype=np.float64)
    first, last = power.sum(axis=(1, 2)), power.sum(axis=(0, 1))
    spread = [float(p.sum()) ** 2 / max(len(p) * float((p**2).sum()), 1e-300) for p in (first, last)]
    peak = int(first.argmax())
    centred = abs(peak - len(first) // 2) <= max(2, len(first) // 10)
    # A coil that is all noise may hold the energy too; lines of k-space have neighbours that hold some.
    beside = first[max(peak - 1, 0) : peak + 2].sum() - first[peak]
    return (
        centred
        and beside > BESIDE * first[peak]
        and 0 < spread[0] < PEAKED < spread[1]
        and spread[1] > 2 * spread[0]
    )


def lines_along_readout(acquired: np.ndarray) -> bool:
    """Return whether whole lines along the phase axis are missing in between, and none along the readout.

    acquired: bool (readout, phase).  A scanner leaves out phase encodings, never samples within a readout.
    """
    rows, columns = acquired.any(axis=1), acquired.any(axis=0)
    there = np.flatnonzero(rows)
    gaps = len(there) > 1 and int(np.diff(there).max()) > 1
    return bool(gaps and columns.all() and acquired[rows].all())
