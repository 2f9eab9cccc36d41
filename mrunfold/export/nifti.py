"""NIfTI-1 files, written one slice at a time."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.export.geometry import Stack, lps_to_ras

__all__ = ["check_nifti", "write_nifti"]

MAX_AXIS = 32767  # its header counts in 16 bits
SAME_MM = 0.1  # what qform and sform may differ by anywhere in the volume
COMPRESSION = 4  # of 9: float noise hardly compresses, and higher levels cost time


def write_nifti(
    path: Path,
    images: Iterable[np.ndarray],
    shape: tuple[int, int],
    stack: Stack,
    *,
    samples: int | None = None,
    frames: int = 1,
    step_s: float | None = None,
    description: str = "",
    dtype: type[np.float32] | type[np.complex64] = np.float32,
) -> None:
    """Write `images` (readout, phase) of `dtype` as .nii.gz, in the order of `stack.slices`.

    The array in the file is (readout, phase, slice), with several `frames` of the same slices, one after the
    other, along the fourth axis, which is time where it has a step in seconds; with `samples` so many of all
    this along the next axis, which is none.  description: up to 79 characters for the header.  With a
    known geometry qform and sform both hold the affine to RAS, code 1 (scanner); of a sheared stack, which a
    qform cannot hold, the sform alone.  Without a geometry both codes are 0 and only the voxel sizes are set:
    no direction is invented.  Only one slice is in memory.  Raises
    InputError if an image has another shape or if there are more or fewer images than slices.
    """
    count = 0
    # No name and no time in the gzip header: the same images give the same bytes.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as file:
        fourth = (*([frames] if frames > 1 else []), *([] if samples is None else [samples]))
        _header(shape, stack, fourth, step_s, description, dtype).write_to(file)
        for image in images:
            if image.shape != shape:
                raise InputError(f"a slice of {shape} was expected, got {image.shape}")
            file.write(np.asarray(image, np.dtype(dtype).newbyteorder("<")).tobytes(order="F"))
            count += 1
    if count != (expected := len(stack.slices) * frames * (samples or 1)):
        raise InputError(f"{expected} slices were expected, got {count}")


def check_nifti(shape: tuple[int, int], stacks: Sequence[Stack]) -> None:
    """Raise InputError where images of `shape` in these stacks are more than a NIfTI-1 file can say."""
    longest = max(*shape, *(len(stack.slices) for stack in stacks))
    if longest > MAX_AXIS:
        raise InputError(
            f"NIfTI-1 holds at most {MAX_AXIS} samples along an axis, here are {longest}; take a part with "
            "`slices`, or `mrunfold batch`, which writes HDF5 alone"
        )


def _header(
    shape: tuple[int, int],
    stack: Stack,
    fourth: tuple[int, ...],
    step_s: float | None,
    description: str,
    dtype: type,
) -> Any:
    import nibabel

    check_nifti(shape, [stack])
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape((*shape, len(stack.slices), *fourth))
    header.set_data_dtype(dtype)
    header.set_zooms((*stack.voxel_mm, *(step_s or 1.0 for _ in fourth[:1]), *(1.0 for _ in fourth[1:])))
    header.set_xyzt_units("mm", "sec" if step_s is not None or not fourth else "unknown")
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header.set_slope_inter(1, 0)
    if stack.lps is None:
        header.set_qform(None, 0)
        header.set_sform(None, 0)
    else:
        affine = lps_to_ras(stack.lps)
        header.set_qform(affine, 1)
        header.set_sform(affine, 1)
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array([*shape, len(stack.slices)]) - 1)
        apart = (header.get_qform() - affine) @ np.vstack([corners.T, np.ones(8)])
        if np.abs(apart).max() > SAME_MM:
            header.set_qform(None, 0)
    header["vox_offset"] = 352  # 348 of header, 4 that say there is no extension
    return header
