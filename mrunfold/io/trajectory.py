"""k-space off the grid: samples along a trajectory, from arrays and from BART's and NumPy's files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.arrays import ArrayScan, read_part

__all__ = ["Trajectory", "TrajectoryScan", "as_trajectory", "kind_of", "open_along"]

FLAT = 1e-3  # of the reach: a third coordinate below it is that of one plane
STRAIGHT = 1e-3  # of the reach, by which a spoke may bend
CENTRE = 1.5  # cycles per field of view: a spoke passes so near to the centre
TRAJECTORY_NAMES = ("trajectory", "traj", "coord", "k", "ktraj")


@dataclass(frozen=True)
class Trajectory:
    """Where samples lie, as a user gives it: a file or an array; matrix: (y, x) of the image, or None."""

    points: Path | np.ndarray
    matrix: tuple[int, int] | None = None


class TrajectoryScan(ArrayScan):
    """k-space (slice, coil, readout, interleaf) with a trajectory (readout, interleaf, 2).

    trajectory: (ky, kx) in cycles per field of view; matrix: (y, x) of the image, None for the smallest even
    one that the trajectory reaches over.  Raises InputError for shapes that do not fit, and a matrix that
    the trajectory goes beyond.
    """

    def __init__(
        self,
        kspace: np.ndarray,
        trajectory: np.ndarray,
        matrix: tuple[int, int] | None = None,
        path: Path | str = "array",
    ) -> None:
        super().__init__(kspace, path)
        readout, interleaves = self.header.matrix
        if trajectory.shape != (readout, interleaves, 2):
            raise InputError(
                f"the trajectory is {trajectory.shape} and k-space {kspace.shape}; give it as (readout, "
                f"interleaf, 2), here ({readout}, {interleaves}, 2)"
            )
        if not np.isfinite(trajectory).all() or not trajectory.any():
            raise InputError(f"{self.path}: the trajectory has NaN or infinite values, or is zero everywhere")
        self._trajectory = trajectory.astype(np.float32)
        reach = [2 * float(np.abs(trajectory[..., axis]).max()) for axis in (0, 1)]
        if matrix is None:
            side = 2 * int(np.ceil(max(reach) / 2 - 1e-3))
            matrix = (side, side)
        if any(r > n * 1.01 for r, n in zip(reach, matrix, strict=True)):
            raise InputError(
                f"the trajectory reaches over {reach[0]:.4g}×{reach[1]:.4g} cycles per field of view, beyond "
                f"a matrix of {matrix[0]}×{matrix[1]}; give a larger matrix, or k in cycles per field of view"
            )
        self.header = replace(self.header, crop=matrix, trajectory=kind_of(self._trajectory))

    def trajectory(self, index: int) -> np.ndarray:
        return self._trajectory


def open_along(path: Path, given: Trajectory) -> TrajectoryScan:
    """Open k-space along a trajectory that another file holds.

    path: BART's .cfl, or its stem, (1, readout, interleaf, coil) with slices in 13, or (readout, interleaf,
    1, coil); or .npy, .npz, .mat of complex (coil, readout, interleaf), slices before it.  Raises InputError
    for others.
    """
    path = _pair(path)
    array: Any = read_part(path, "k-space", ("kspace", "k_space", "ksp", "data", "rawdata"))
    if path.suffix.lower() in (".cfl", ".hdr"):
        array = array.reshape(array.shape + (1,) * (14 - array.ndim))
        if array.shape[0] > 1 and array.shape[2] == 1:  # as other programs write it
            array = np.moveaxis(array, 2, 0)
        if array.shape[0] != 1 or math.prod(array.shape[4:13]) > 1:
            raise InputError(
                f"{path}: BART's k-space along a trajectory is (1, readout, spoke, coil) with slices in 13, "
                f"got {array.shape[:5]}…; take one of the others with `bart slice`"
            )
        readout, spokes, coils = array.shape[1:4]
        array = array.reshape(readout, spokes, coils, -1).transpose(3, 2, 0, 1)
    array = array[None] if array.ndim == 3 else array
    points = given.points
    if isinstance(points, Path):
        points = read_part(_pair(points), "trajectory", TRAJECTORY_NAMES)
    return TrajectoryScan(array, as_trajectory(points), given.matrix, path)


def _pair(path: Path) -> Path:
    """Return the file that is meant: BART's users type the stem of its two."""
    stem = path.with_name(path.name + ".cfl")
    return stem if not path.exists() and stem.is_file() else path


def as_trajectory(array: np.ndarray) -> np.ndarray:
    """Return a trajectory (readout, interleaf, 2) of (ky, kx).

    Taken are (readout, interleaf, 2), complex (readout, interleaf) of ky + i·kx, and BART's (3, readout,
    spoke), whose first coordinate is that of the image's first axis.  Raises InputError for others, and for a
    third coordinate that is not one plane's.
    """
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[0] in (2, 3) and array.shape[-1] != 2:
        points = np.moveaxis(array, 0, -1).real
        if points.shape[-1] == 3 and np.ptp(points[..., 2]) > FLAT * np.abs(points).max():
            raise InputError("the trajectory is 3-D; 2-D trajectories are read, a plane at a time")
        return np.ascontiguousarray(points[..., :2])
    if array.ndim == 3 and array.shape[-1] == 2 and array.dtype.kind in "fiu":
        return array
    if array.ndim == 2 and array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1)
    raise InputError(
        f"a trajectory is (readout, interleaf, 2), or BART's (3, readout, spoke), got {array.dtype} "
        f"{array.shape}"
    )


def kind_of(trajectory: np.ndarray) -> str:
    """Return "radial" (straight, through the centre), "spiral" (from or to it), or "other"."""
    reach = float(np.linalg.norm(trajectory, axis=-1).max())
    begins = np.linalg.norm(trajectory[0], axis=-1).max() < CENTRE
    chord = trajectory[-1] - trajectory[0]
    length = np.maximum(np.linalg.norm(chord, axis=-1, keepdims=True), 1e-6)
    (sy, sx), (dy, dx) = (np.moveaxis(part, -1, 0) for part in (trajectory - trajectory[0], chord / length))
    aside = np.abs(sy * dx - sx * dy).max()
    nearest = np.linalg.norm(trajectory, axis=-1).min(axis=0).max()
    if aside < STRAIGHT * reach and nearest < CENTRE:
        return "radial"
    return "spiral" if begins or np.linalg.norm(trajectory[-1], axis=-1).max() < CENTRE else "other"
