"""Stacks of trajectories: one trajectory (kx, ky) on every partition, Cartesian along kz.

The partitions are complete, so that their inverse transform is exact: each partition of the image is a slice
along the same trajectory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.fft

from mrunfold.errors import InputError
from mrunfold.io.frames import Frames

__all__ = [
    "complete",
    "frames_of_stack",
    "heights",
    "kept",
    "refuse_turned",
    "said",
    "to_planes",
    "transform",
]

SAME = 1e-3  # of the reach, or of a step along kz, by which trajectories and steps may differ


def transform(kspace: np.ndarray, conjugated: bool = False) -> np.ndarray:
    """Return the partitions of the image, in place: complex64 (image, partition, coil, readout, interleaf).

    The transform is unitary, its centre at P//2: white noise stays as it is.  conjugated: the file assumes
    the other sign of the transform.
    """
    how = scipy.fft.fft if conjugated else scipy.fft.ifft
    for image in kspace:
        for coil in range(kspace.shape[2]):
            moved = how(scipy.fft.ifftshift(image[:, coil], axes=0), axis=0, norm="ortho")
            image[:, coil] = scipy.fft.fftshift(moved, axes=0)
    return kspace


def complete(path: Path | str, found: np.ndarray, wanted: int) -> int:
    """Return how many partitions there are; found: those that were acquired, whole numbers.

    Which of them is the middle one only changes the phase of each slice.  Raises InputError where one of the
    `wanted` is missing.
    """
    found = np.unique(found)
    wanted = max(wanted, int(np.ptp(found)) + 1)
    if len(found) < wanted:
        raise InputError(
            f"{path}: a stack of trajectories with {len(found)} of {wanted} partitions; stacks that are "
            "undersampled or partial along kz are not read: acquire all, or use `bart pics -t` in 3-D"
        )
    return wanted


def heights(points: np.ndarray, path: Path | str = "array") -> np.ndarray | None:
    """Return kz of each interleaf, (…, interleaf), of points (…, readout, interleaf, 3); None for one plane.

    Raises InputError where it changes along an interleaf: that is a 3-D trajectory.
    """
    along = points[..., 2]
    reach = float(np.abs(points).max())
    if np.ptp(along) <= SAME * reach:
        return None
    kz = along.mean(axis=-2)
    if np.abs(along - kz[..., None, :]).max() > SAME * reach:
        raise InputError(
            f"{path}: the trajectory is 3-D; planes and stacks of planes are read, whose kz is the same "
            "along each interleaf"
        )
    return kz


def to_planes(
    kspace: np.ndarray, points: np.ndarray, kz: np.ndarray, path: Path | str
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the planes of a stack whose interleaves lie one after the other, their trajectory, how many.

    kspace: (image, coil, readout, interleaf); points: (frame or 1, readout, interleaf, 3), in cycles per
    field of view, images being frame after frame; kz: (frame or 1, interleaf).  Planes are (image·partition,
    coil, readout, interleaf), transformed, and the trajectory (frame or 1, readout, interleaf, 2).
    """
    steps = np.rint(kz - kz.min())
    if np.abs(kz - kz.min() - steps).max() > 0.1:
        raise InputError(
            f"{path}: the partitions of the stack are not 1 cycle per field of view apart; write kz so"
        )
    numbers = np.unique(steps)
    count = complete(path, numbers, _size(kz))
    orders = np.stack([_order(path, one, numbers) for one in steps])  # (frame, partition, interleaf)
    flat = np.stack([one[:, order, :2] for one, order in zip(points, orders, strict=True)])
    refuse_turned(path, np.moveaxis(flat, 2, 1))
    each = len(kspace) // len(orders)
    planes = np.stack([one[:, :, orders[n // each]] for n, one in enumerate(kspace)])
    planes = transform(np.moveaxis(planes, 3, 1).astype(np.complex64))  # (image, partition, coil, …)
    return planes.reshape(-1, *planes.shape[2:]), flat[:, :, 0], count


def _size(kz: np.ndarray) -> int:
    """Return how many partitions reach as far as these do, on both sides of the centre."""
    return int(np.ceil(2 * float(np.abs(kz).max()) - 0.1))


def _order(path: Path | str, steps: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return which interleaves are of each partition, (partition, interleaf), in their order."""
    lists = [np.flatnonzero(steps == number) for number in numbers]
    if len(counts := sorted({len(one) for one in lists})) > 1:
        raise InputError(
            f"{path}: its partitions have {counts} interleaves; stacks are read whose partitions are alike"
        )
    return np.stack(lists)


def refuse_turned(path: Path | str, points: np.ndarray) -> None:
    """Raise InputError where partitions, the second axis of points (frame, partition, …), differ."""
    if np.abs(points - points[:, :1]).max() > SAME * np.abs(points).max():
        raise InputError(
            f"{path}: the trajectory is another in each partition of the stack; stacks are read whose "
            "partitions have the same: use `bart pics -t` in 3-D"
        )


def kept(partitions: int, ratio: float) -> slice:
    """Return which partitions lie in the image: the middle ones, of slice oversampling `ratio` of them."""
    count = max(1, round(partitions * min(ratio, 1.0)))
    start = partitions // 2 - count // 2
    return slice(start, start + count)


def frames_of_stack(frames: Frames | None, each: int) -> Frames | None:
    """Return the frames of slabs as those of their `each` partitions."""
    if frames is None:
        return None
    frame = tuple(f for f in frames.frame for _ in range(each))
    return Frames(frames.labels, frame, tuple(slab * each + p for slab in frames.place for p in range(each)))


def said(partitions: int) -> str:
    """Return what a reader must know of a stack."""
    return (
        f"a stack of {partitions} partitions along one trajectory: kz is transformed and each partition is a "
        "slice"
    )
