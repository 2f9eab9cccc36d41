"""k-space off the grid: samples along a trajectory, from arrays and from BART's and NumPy's files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError, did_you_mean
from mrunfold.io.arrays import SUFFIXES, ArrayScan, read_part
from mrunfold.io.cfl_dims import AVERAGE, COIL, DIMENSIONS, FRAMES, SLICE, averages_said, frames_in
from mrunfold.io.frames import Frames
from mrunfold.io.stack import frames_of_stack, heights, said, to_planes

__all__ = ["NAMED", "Trajectory", "TrajectoryScan", "as_trajectory", "kind_of", "open_along", "points_of"]

# Degrees from one spoke to the next; None: as many as there are share 180°.
# 180° (√5 − 1)/2 = 111.246°: Winkelmann et al., IEEE Trans. Med. Imaging 26 (2007) 68–76.
NAMED: dict[str, float | None] = {"golden-angle": 90 * (math.sqrt(5) - 1), "radial": None}

FLAT = 1e-3  # of the reach: a third coordinate below it is that of one plane
STRAIGHT = 1e-3  # of the reach, by which a spoke may bend
CENTRE = 1.5  # cycles per field of view: a spoke passes so near to the centre
TRAJECTORY_NAMES = ("trajectory", "traj", "coord", "k", "ktraj")


@dataclass(frozen=True)
class Trajectory:
    """Where samples lie, as a user gives it: file, array or one of NAMED; matrix: (y, x) of the image."""

    points: Path | np.ndarray | str
    matrix: tuple[int, int] | None = None

    @classmethod
    def of(cls, text: str, matrix: tuple[int, int] | None = None) -> Trajectory:
        """Return what a command's text means: a name, else a file; InputError for a word that is neither."""
        path = Path(text)
        if text in NAMED:
            return cls(text, matrix)
        if path.suffix.lower() not in SUFFIXES and not _pair(path).exists():
            raise InputError(
                f"trajectory {text[:40]!r} is neither a name{did_you_mean(text, NAMED)} nor a file; files "
                f"end in {', '.join(SUFFIXES)}"
            )
        return cls(path, matrix)


class TrajectoryScan(ArrayScan):
    """k-space (slice, coil, readout, interleaf) with a trajectory (readout, interleaf, 2).

    trajectory: (ky, kx) in cycles per field of view, with an axis before it where frames, or images, have
    their own; matrix: (y, x) of the image, None for the smallest even
    one that the trajectory reaches over.  Raises InputError for shapes that do not fit, and a matrix that
    the trajectory goes beyond.
    """

    def __init__(
        self,
        kspace: np.ndarray,
        trajectory: np.ndarray,
        matrix: tuple[int, int] | None = None,
        path: Path | str = "array",
        frames: Frames | None = None,
    ) -> None:
        super().__init__(kspace, path, frames=frames)
        readout, interleaves = self.header.matrix
        several = {self.header.slices} if frames is None else {self.header.slices, len(frames.labels)}
        each = trajectory[None] if trajectory.ndim == 3 else trajectory
        if each.shape[1:] != (readout, interleaves, 2) or len(each) not in several | {1}:
            raise InputError(
                f"the trajectory is {trajectory.shape} and k-space {kspace.shape}; give it as (readout, "
                f"interleaf, 2), here ({readout}, {interleaves}, 2)"
            )
        if not np.isfinite(trajectory).all() or not trajectory.any():
            raise InputError(f"{self.path}: the trajectory has NaN or infinite values, or is zero everywhere")
        self._trajectory = each.astype(np.float32)
        reach = [2 * float(np.abs(trajectory[..., axis]).max()) for axis in (0, 1)]
        if matrix is None:
            side = 2 * int(np.ceil(max(reach) / 2 - 1e-3))
            matrix = (side, side)
        if any(r > n * 1.01 for r, n in zip(reach, matrix, strict=True)):
            raise InputError(
                f"the trajectory reaches over {reach[0]:.4g}×{reach[1]:.4g} cycles per field of view, beyond "
                f"a matrix of {matrix[0]}×{matrix[1]}; give a larger matrix, or k in cycles per field of view"
            )
        self.header = replace(self.header, crop=matrix, trajectory=kind_of(self._trajectory[0]))

    def trajectory(self, index: int) -> np.ndarray:
        index, frames = self._index(index), self.header.frames
        if len(self._trajectory) == 1:
            return self._trajectory[0]
        if frames is not None and len(self._trajectory) == len(frames.labels):
            return self._trajectory[frames.frame[index]]
        return self._trajectory[index]


def points_of(
    given: Trajectory,
    shape: tuple[int, int],
    matrix: tuple[int, int] | None,
    centre: int | None = None,
) -> np.ndarray:
    """Return the trajectory that a user gives, of k-space `shape` (readout, interleaf): `as_trajectory`.

    matrix: (y, x) of the image, which a named one reaches over; centre: the sample of a spoke at k = 0, by
    default its middle one, N//2.  Spoke n of a named one stands at n times the angle from the image's first
    axis.
    """
    if not isinstance(given.points, str):
        return as_trajectory(_read_points(given))
    if given.points not in NAMED:
        raise InputError(
            f"no trajectory is called {given.points[:40]!r}{did_you_mean(given.points, NAMED)}; give an array"
        )
    if matrix is None:
        raise InputError(
            f"the {given.points} trajectory needs to know how far it reaches; add `matrix`, as 192"
        )
    readout, interleaves = shape
    step = NAMED[given.points]
    angle = np.deg2rad(180 / interleaves if step is None else step) * np.arange(interleaves)
    r = (np.arange(readout) - (readout // 2 if centre is None else centre)) / readout
    # Spokes of pixels that are as wide as high reach as far along both axes.
    return np.stack([r[:, None] * np.cos(angle), r[:, None] * np.sin(angle)], axis=-1) * np.array(matrix)


def open_along(path: Path, given: Trajectory) -> TrajectoryScan:
    """Open k-space along a trajectory that another file holds.

    path: BART's .cfl, or its stem, (1, readout, interleaf, coil) with slices in 13, frames in 5, 10 and 11
    and averages in 14, or (readout, interleaf, 1, coil); or .npy, .npz, .mat of complex (coil, readout,
    interleaf), slices before it.  A trajectory whose third coordinate, kz, is another from interleaf to
    interleaf is that of a stack (`io.stack`).  Raises InputError for others.
    """
    path = _pair(path)
    array: Any = read_part(path, "k-space", ("kspace", "k_space", "ksp", "data", "rawdata"))
    frames: Frames | None = None
    notes: tuple[str, ...] = ()
    bart = path.suffix.lower() in (".cfl", ".hdr")
    slabs = 1 if not bart else array.shape[SLICE] if array.ndim > SLICE else 1
    if bart:
        array, frames, notes = _of_bart(path, array)
    array = array[None] if array.ndim == 3 else array
    points = None if isinstance(given.points, str) else _three(_read_points(given))
    kz = None if points is None else heights(points, path)
    if points is None or kz is None:
        found = points_of(given, array.shape[2:4], given.matrix)
    else:
        if points.shape[2] == slabs * array.shape[3] > array.shape[3]:  # BART's partitions in 13
            array, slabs = _slices_as_interleaves(array, slabs), 1
            frames = None if frames is None else Frames.grid(frames.labels, 1)
        _fits(array, points)
        array, found, count = to_planes(array, points, kz, path)
        frames = frames_of_stack(frames, count)
        found = found[0] if len(found) == 1 else found
        notes += (said(count),)
    scan = TrajectoryScan(array, found, given.matrix, path, frames)
    scan.header = replace(scan.header, notes=notes)
    return scan


def _of_bart(path: Path, array: np.ndarray) -> tuple[np.ndarray, Frames | None, tuple[str, ...]]:
    """Return BART's k-space as (image, coil, readout, interleaf), what its frames are, and what to say."""
    array = array.reshape([*array.shape, *[1] * (DIMENSIONS - array.ndim)])
    if array.shape[0] > 1 and array.shape[2] == 1:  # as other programs write it
        array = np.moveaxis(array, 2, 0)
    taken = (1, 2, COIL, SLICE, AVERAGE, *FRAMES)
    if any(n > 1 for axis, n in enumerate(array.shape) if axis not in taken):
        raise InputError(
            f"{path}: BART's k-space along a trajectory is (1, readout, spoke, coil) with slices in 13, "
            f"frames in 5, 10, 11 and averages in 14, got {array.shape}; take one of the others with "
            "`bart slice`"
        )
    notes = averages_said(array.shape)
    if notes:
        count = (array != 0).any(axis=COIL, keepdims=True).sum(axis=AVERAGE, keepdims=True)
        array = array.sum(axis=AVERAGE, keepdims=True) / np.maximum(count, 1).astype(np.float32)
    _, frames = frames_in(array.shape, list(array.shape)[SLICE])
    sizes = list(array.shape)
    readout, spokes, coils = sizes[1 : COIL + 1]
    images = _frames_first(array, (SLICE, COIL, 1, 2)).reshape(-1, coils, readout, spokes)
    return images, frames, notes


def _slices_as_interleaves(array: np.ndarray, slices: int) -> np.ndarray:
    """Return (frame, coil, readout, slice·interleaf) of (frame·slice, coil, readout, interleaf)."""
    _, coils, readout, interleaves = array.shape
    apart = array.reshape(-1, slices, coils, readout, interleaves)
    return np.moveaxis(apart, 1, 3).reshape(-1, coils, readout, slices * interleaves)


def _three(array: np.ndarray) -> np.ndarray | None:
    """Return points of three coordinates as (frame or 1, readout, interleaf, 3), None where there are two.

    Taken are BART's (3, readout, spoke), partitions in its dimension 13 being further spokes, and real
    (readout, interleaf, 3), frames before it.
    """
    if array.ndim >= 3 and array.shape[0] == 3 and array.shape[-1] != 2:
        array = array.reshape(array.shape + (1,) * (DIMENSIONS - array.ndim)).real
        if math.prod(array.shape[axis] for axis in (0, 1, 2, SLICE, *FRAMES)) != array.size:
            return None
        every = _frames_first(array, (1, SLICE, 2, 0))
        return every.reshape(len(every), every.shape[1], -1, 3)
    if array.ndim in (3, 4) and array.shape[-1] == 3 and array.dtype.kind in "fiu":
        return array if array.ndim == 4 else array[None]
    return None


def _fits(array: np.ndarray, points: np.ndarray) -> None:
    if points.shape[1:3] != array.shape[2:4] or len(array) % len(points):
        raise InputError(
            f"the trajectory of the stack is {points.shape} and k-space {array.shape}; give (readout, "
            f"interleaf, 3), here ({array.shape[2]}, {array.shape[3]}, 3)"
        )


def _frames_first(array: np.ndarray, then: tuple[int, ...]) -> np.ndarray:
    """Return BART's array (frame, *then), its other dimensions being 1."""
    order = (*FRAMES, *then)
    rest = tuple(axis for axis in range(DIMENSIONS) if axis not in order)
    shape = [array.shape[axis] for axis in then]
    return array.transpose(*order, *rest).reshape(-1, *shape)


def _read_points(given: Trajectory) -> np.ndarray:
    if isinstance(given.points, Path):
        return np.asarray(read_part(_pair(given.points), "trajectory", TRAJECTORY_NAMES))
    return np.asarray(given.points)


def _pair(path: Path) -> Path:
    """Return the file that is meant: BART's users type the stem of its two."""
    stem = path.with_name(path.name + ".cfl")
    return stem if not path.exists() and stem.is_file() else path


def as_trajectory(array: np.ndarray) -> np.ndarray:
    """Return a trajectory (readout, interleaf, 2) of (ky, kx), with an axis of frames before it if given so.

    Taken are (readout, interleaf, 2), complex (readout, interleaf) of ky + i·kx, frames before them, and
    BART's (3, readout, spoke), whose first coordinate is that of the image's first axis, with frames in its
    dimensions 5, 10 and 11.  Raises InputError for others, and for a third coordinate that is not one
    plane's.
    """
    array = np.asarray(array)
    if array.ndim > 4 and array.shape[0] == 3:  # BART's of frames
        array = array.reshape(array.shape + (1,) * (DIMENSIONS - array.ndim))
        each = math.prod(array.shape[axis] for axis in (0, 1, 2, *FRAMES))
        if each == array.size:
            every = _frames_first(array, (0, 1, 2))
            return np.stack([as_trajectory(one) for one in every])
    if array.ndim == 3 and array.shape[0] in (2, 3) and array.shape[-1] != 2:
        points = np.moveaxis(array, 0, -1).real
        if points.shape[-1] == 3 and np.ptp(points[..., 2]) > FLAT * np.abs(points).max():
            raise InputError(
                "the trajectory is 3-D; a plane at a time is read, or a stack: k-space (coil, readout, "
                "interleaf, partition) with `volume=True` and the trajectory of one plane"
            )
        return np.ascontiguousarray(points[..., :2])
    if array.ndim in (3, 4) and array.shape[-1] == 2 and array.dtype.kind in "fiu":
        return array
    if array.ndim in (2, 3) and array.dtype.kind == "c":
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
