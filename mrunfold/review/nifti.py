"""Volumes for a page: small NIfTI files in memory, turned for a reader, without a place in space."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import numpy as np

from mrunfold.export.geometry import View

__all__ = ["LEVELS", "packed"]

LEVELS = 4095  # 12 bits, as in DICOM: finer than any window on a screen, and far smaller than floats


def packed(
    frames: Sequence[np.ndarray],
    view: View,
    voxel_mm: tuple[float, float, float],
    top: float,
    levels: int = LEVELS,
) -> bytes:
    """Return volumes (slice, readout, phase) as one .nii.gz of integers up to `levels`, which is `top`.

    frames: one volume, or several for the fourth axis; view: how images are turned; voxel_mm: (readout,
    phase, slice).  Columns run to the reader's right, rows downwards: the affine says left and posterior,
    which is so for axial images alone.  It is only for drawing, the page names the edges itself.
    """
    import nibabel

    turned = [np.stack([view(image) for image in volume]) for volume in frames]  # slice, row, column
    count, rows, columns = turned[0].shape
    read, phase, step = voxel_mm
    width, height = (read, phase) if view.transpose else (phase, read)
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape((columns, rows, count) + ((len(turned),) if len(turned) > 1 else ()))
    header.set_data_dtype(np.int16)
    header.set_zooms((width, height, step) + ((1.0,) if len(turned) > 1 else ()))
    header.set_xyzt_units("mm", "sec")
    affine = np.diag([-width, -height, step, 1.0])
    affine[:3, 3] = [width * (columns - 1) / 2, height * (rows - 1) / 2, -step * (count - 1) / 2]
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    scale = (top or 1.0) / levels
    header.set_slope_inter(scale, 0)
    header["vox_offset"] = 352
    header["cal_max"] = top
    integers = [np.clip(np.rint(t / scale), 0, levels).astype("<i2") for t in turned]
    # C order (slice, row, column) is NIfTI's order: columns fastest.
    data = header.binaryblock + b"\0" * 4 + b"".join(i.tobytes() for i in integers)
    return gzip.compress(data, 6, mtime=0)
