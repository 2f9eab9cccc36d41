"""Volumes for a page: integers, predicted from their neighbours and deflated, as text that HTML can hold.

`assets/volumes.js` is the other end.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrunfold.export.geometry import View

__all__ = ["ALPHABET", "LEVELS", "ROOTS", "Grid", "Volume", "as_text", "grid_header", "pack"]

LEVELS = 4095  # 12 bits, as in DICOM: finer than any window on a screen, and far smaller than floats
ROOTS = 95  # of a map: its square root, far finer than samples know a standard deviation
# Printable ASCII without what ends a string or an element.  Two characters hold 13 bits, as 91² > 2¹³: 1.23
# bytes a byte, where base64 takes 1.33.
ALPHABET = "".join(chr(code) for code in range(33, 127) if chr(code) not in "'\\<")
BLOCK = 13  # bytes that are 16 characters


@dataclass(frozen=True)
class Grid:
    """Where a page's volumes lie: shape (columns, rows, slices); voxel_mm: of the same; axes: of each axis of
    RAS the axis of the volume along it and its sign."""

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    axes: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Volume:
    """A packed volume: data; top: the value of the highest level; square: levels are roots, 0 to ROOTS."""

    data: bytes
    top: float
    square: bool = False


def pack(frames: Sequence[np.ndarray], view: View, top: float, *, square: bool = False) -> Volume:
    """Return volumes (slice, readout, phase), one after the other, as levels up to `top`.

    view: how images are turned; square: levels of the square root, of a map whose small values count as much.
    """
    images = np.stack([view(image) for volume in frames for image in volume])  # slice, row, column
    part = np.clip(images.astype(np.float64) / (top or 1.0), 0, 1)
    levels = np.rint(np.sqrt(part) * ROOTS if square else part * LEVELS).astype(np.int32)
    error = levels - _predicted(levels)
    folded = np.where(error >= 0, 2 * error, -2 * error - 1).astype(np.uint16)
    # The high bytes are nearly all zero: apart from the low ones they take no room.
    planes = (folded >> 8).astype(np.uint8).tobytes() + (folded & 255).astype(np.uint8).tobytes()
    return Volume(gzip.compress(planes, 9, mtime=0), top, square)


def _predicted(levels: np.ndarray) -> np.ndarray:
    """Return what pixels left, above and left above say of each (LOCO-I: Weinberger 2000, eq. 1)."""
    left, above, corner = (np.zeros_like(levels) for _ in range(3))
    left[..., 1:] = levels[..., :-1]
    above[..., 1:, :] = levels[..., :-1, :]
    corner[..., 1:, 1:] = levels[..., :-1, :-1]
    low, high = np.minimum(left, above), np.maximum(left, above)
    return np.where(corner >= high, low, np.where(corner <= low, high, left + above - corner))


def as_text(data: bytes) -> str:
    """Return bytes as characters of ALPHABET, with zeros behind them up to a whole block."""
    padded = np.frombuffer(data + b"\0" * (-len(data) % BLOCK), np.uint8)
    numbers = np.unpackbits(padded).reshape(-1, BLOCK).astype(np.uint16) @ (1 << np.arange(BLOCK)[::-1])
    letters = np.frombuffer(ALPHABET.encode("ascii"), np.uint8)
    return letters[np.stack(np.divmod(numbers, len(ALPHABET)), axis=1)].tobytes().decode("ascii")


def grid_header(grid: Grid) -> bytes:
    """Return the NIfTI header of a grid's volumes, 348 bytes.

    Its affine has one axis of the patient for each of the volume, the nearest: it is only for drawing, the
    page names edges and places itself.
    """
    import nibabel

    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape(grid.shape)
    header.set_data_dtype(np.int16)
    header.set_zooms(grid.voxel_mm)
    header.set_xyzt_units("mm", "sec")
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for ras, (axis, sign) in enumerate(grid.axes):
        affine[ras, axis] = sign * grid.voxel_mm[axis]
        affine[ras, 3] = -affine[ras, axis] * (grid.shape[axis] - 1) / 2
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    header["vox_offset"] = 352
    return bytes(header.binaryblock)
