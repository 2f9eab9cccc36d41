"""Acquisitions along a trajectory, whatever file they come from: sorted into images and interleaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding
from mrunfold.io.frames import Frames
from mrunfold.io.hdf5 import MAX_SLICE_BYTES
from mrunfold.io.memory import require_memory
from mrunfold.io.mrd_frames import frames_of
from mrunfold.io.mrd_heads import NOT_IMAGE, VOLUME, diffusion_apart, flagged
from mrunfold.io.scan import Geometry, right_angles
from mrunfold.io.stack import complete, frames_of_stack, kept, refuse_turned, said, transform
from mrunfold.io.trajectory import Trajectory, TrajectoryScan, points_of
from mrunfold.io.volumes import blocks

__all__ = ["Acquired", "AlongScan"]

KEY = (*VOLUME, "slice", "kspace_encode_step_2")
UNIT = 0.5 * (1 + 1e-3)  # a trajectory that reaches no farther is in cycles a pixel
SAME = 1e-3  # cycles a pixel or per field of view, by which trajectories of images may differ
BLOCK = 1024  # acquisitions whose trajectories are in memory at a time
CLOSE = 0.75  # cycles per field of view from one sample to the next: the readout is oversampled

Rows = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Acquired:
    """What a file holds of acquisitions.

    heads: fields of ISMRMRD's headers (`read_heads`); rows: gives the samples of some, numbers rising, each
    (coil, samples); carried: gives the trajectories of some, each (samples, axes), None where files cannot
    hold any; notes: what a reader must know.
    """

    path: Path
    kind: str
    heads: dict[str, np.ndarray]
    encoding: Encoding
    rows: Rows
    carried: Rows | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Images:
    """Imaging acquisitions: their numbers, image after image, the image of each, and counters of images.

    Of a stack each partition is an image, until `slabs` puts them together.
    """

    order: np.ndarray
    which: np.ndarray
    labels: tuple[dict[str, int], ...]

    def of_slice(self, index: int) -> np.ndarray:
        """Return the numbers of one image's acquisitions, in the order measured."""
        return self.order[self.which == index]

    def slabs(self, partitions: int) -> Images:
        """Return each `partitions` images as one."""
        return Images(self.order, self.which // partitions, self.labels[::partitions])


class AlongScan(TrajectoryScan):
    """Images of acquisitions along trajectories (kx, ky), each an interleaf, in the order measured.

    Carried trajectories are in cycles a pixel (−0.5 to 0.5) or in cycles per field of view.  kx goes along
    the read direction, which is the image's first axis.  Repetitions, phases, sets, weightings and contrasts
    are frames, which may have trajectories of their own.  Partitions, by encode step 2 or by a kz that
    trajectories carry, are a stack (`io.stack`), whose partitions lie as those of a 3-D scan.  Of Siemens
    scanners the trajectory is negated:
    their files assume the other sign of the Fourier transform.  All is read at once.  given: a trajectory
    where acquisitions carry none, or another is to be taken.  Raises InputError for acquisitions without a
    trajectory, of unlike lengths, and partitions that are missing or unlike.
    """

    def __init__(self, found: Acquired, given: Trajectory | None = None) -> None:
        path, encoding = found.path, found.encoding
        heads = diffusion_apart(found.heads, encoding.diffusion[0] if encoding.diffusion else None)
        heads = _with_partitions(found, heads)
        images = _images(path, heads)
        first = images.order[0]
        samples = int(heads["number_of_samples"][first])
        read = slice(int(heads["discard_pre"][first]), samples - int(heads["discard_post"][first]))
        kspace = _read(found, heads, images, read)
        matrix = encoding.encoded.matrix[:2] if given is None or given.matrix is None else given.matrix
        if given is None:
            points = _carried(found, heads, images, read)
            points = points * np.array(matrix, np.float32) if np.abs(points).max() <= UNIT else points
        else:
            centre = int(heads["center_sample"][first]) - read.start
            shape = kspace.shape[2:4]
            points = points_of(given, shape, matrix, centre if centre > 0 else None)
        partitions = _partitions(path, images, encoding)
        slabs = images.slabs(partitions)
        frames, notes = frames_of(slabs, heads, encoding)
        places = kept(partitions, _share(encoding))
        if partitions > 1:
            whole = kspace.reshape(-1, partitions, *kspace.shape[1:])
            kspace = transform(whole, encoding.siemens)[:, places].reshape(-1, *kspace.shape[1:])
            points = _of_slabs(path, points, partitions, places, frames)
            frames = frames_of_stack(frames, places.stop - places.start)
            notes += (said(partitions),)
        super().__init__(kspace, -points if encoding.siemens else points, matrix, path, frames)
        fov = encoding.encoded.fov
        slice_mm = None if fov is None else fov[2] / partitions
        self.header = replace(
            self.header,
            format=found.kind,
            pixel_mm=None if fov is None else (fov[0] / matrix[0], fov[1] / matrix[1]),
            slice_mm=slice_mm,
            geometry=_geometry(heads, slabs, np.arange(partitions)[places] - partitions // 2, slice_mm),
            contrast=_common(encoding.contrast, frames),
            notes=found.notes + encoding.notes + notes,
        )
        self._noise = self._noise_scan(found, heads, first)

    def noise(self) -> np.ndarray | None:
        return self._noise

    def _noise_scan(self, found: Acquired, heads: dict[str, np.ndarray], first: int) -> np.ndarray | None:
        """Return the noise scan (coil, samples) with the noise of a sample of the field of view, or None.

        As `AcquisitionScan.noise`; an oversampled readout has the noise of the receiver's pass band within
        the field of view, where it is white.
        """
        coils = self.header.coils
        flags = heads["flags"].astype(np.uint64)
        chosen = np.flatnonzero(flagged(flags, "noise") & (heads["active_channels"] == coils))
        if not len(chosen):
            return None
        dwell = np.nan_to_num(heads["sample_time_us"].astype(float), posinf=0.0, neginf=0.0)
        steps = np.linalg.norm(np.diff(self.trajectory(0), axis=0), axis=-1)
        bandwidth = found.encoding.noise_bandwidth if np.median(steps) < CLOSE else 1.0
        rows = []
        for number, row in zip(chosen, found.rows(chosen), strict=True):
            ratio = dwell[number] / dwell[first] if dwell[number] > 0 and dwell[first] > 0 else 1.0
            rows.append(row * np.float32(np.sqrt(ratio / bandwidth)))
        noise = np.concatenate(rows, axis=1)
        if not np.isfinite(noise).all():
            raise InputError(f"{found.path}: its noise scan holds NaN or infinity; repair the file")
        return noise


def _imaging(path: Path, heads: dict[str, np.ndarray]) -> np.ndarray:
    """Return the numbers of the imaging acquisitions."""
    flags = heads["flags"].astype(np.uint64)
    chosen = np.flatnonzero(~np.any([flagged(flags, name) for name in NOT_IMAGE], axis=0))
    if not len(chosen):
        raise InputError(f"{path}: it holds no imaging acquisition")
    return chosen


def _with_partitions(found: Acquired, heads: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the headers with partitions counted by kz, where trajectories carry it and no counter does.

    A third coordinate that changes along a readout and is never negative is a density, as some programs
    write it.
    """
    chosen = _imaging(found.path, heads)
    axes, step = heads["trajectory_dimensions"][chosen], "idx.kspace_encode_step_2"
    if found.carried is None or axes.min() < 3:
        return heads
    kz, changes, lowest = np.zeros(len(chosen)), False, 0.0
    for some in blocks(len(chosen), BLOCK):
        for number, one in enumerate(found.carried(chosen[some]), some.start):
            kz[number] = one[:, 2].mean()
            changes |= bool(np.ptp(one[:, 2]) > SAME)
            lowest = min(lowest, float(one[:, 2].min()))
    if changes and lowest < -SAME:
        raise InputError(
            f"{found.path}: its trajectories are 3-D; planes and stacks of planes are read, whose kz is the "
            "same along each readout"
        )
    different = np.diff(np.unique(np.round(kz / SAME))) * SAME
    if changes or not len(different) or np.ptp(heads[step][chosen]) > 0:
        return heads
    number = np.rint((kz - kz.min()) / different.min()).astype(np.int64)
    complete(found.path, number, int(np.rint(2 * np.abs(kz).max() / different.min())))
    return heads | {step: _at(heads[step], chosen, number)}


def _at(array: np.ndarray, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[places] = values
    return array


def _partitions(path: Path, images: Images, encoding: Encoding) -> int:
    """Return how many partitions each slab has, 1 of a plane; InputError where one of them lacks some."""
    found = np.array([label["kspace_encode_step_2"] for label in images.labels])
    if not np.ptp(found):
        return 1
    partitions = complete(path, found, encoding.encoded.matrix[2])
    for number in range(0, len(found), partitions):
        complete(path, found[number : number + partitions], partitions)
    return partitions


def _share(encoding: Encoding) -> float:
    """Return the share of the slab that lies in the image: the rest is slice oversampling."""
    if encoding.encoded.fov is None or encoding.recon.fov is None:
        return 1.0
    return encoding.recon.fov[2] / encoding.encoded.fov[2]


def _of_slabs(
    path: Path, points: np.ndarray, partitions: int, places: slice, frames: Frames | None
) -> np.ndarray:
    """Return the trajectories of a stack's slices, of those of its partitions."""
    if points.ndim == 3 or len(points) < partitions:
        return points
    apart = points.reshape(-1, partitions, *points.shape[1:])  # (slab, partition, readout, interleaf, 2)
    refuse_turned(path, apart)
    if np.abs(apart - apart[:1, :1]).max() <= SAME * max(1.0, np.abs(points).max()):
        return apart[0, 0]
    alike = frames is not None and len(frames.labels) == len(apart)
    return apart[:, 0] if alike else np.repeat(apart[:, 0], places.stop - places.start, axis=0)


def _images(path: Path, heads: dict[str, np.ndarray]) -> Images:
    """Return the imaging acquisitions by image, in the order measured."""
    chosen = _imaging(path, heads)
    for name, words in (("number_of_samples", "as many samples"), ("active_channels", "as many coils")):
        if len(np.unique(heads[name][chosen])) > 1:
            raise InputError(f"{path}: its acquisitions have not all {words}; write them alike")
    keys = np.stack([heads[f"idx.{name}"][chosen] for name in KEY], axis=1)
    unique, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    if len(counts := np.unique(np.bincount(which))) > 1:
        what = "partitions" if np.ptp(unique[:, -1]) else "images"
        raise InputError(f"{path}: its {what} have {counts.tolist()} interleaves; write them alike")
    labels = tuple(dict(zip(KEY, map(int, key), strict=True)) for key in unique)
    order = np.argsort(which, kind="stable")
    return Images(chosen[order], which[order], labels)


def _read(found: Acquired, heads: dict[str, np.ndarray], images: Images, kept: slice) -> np.ndarray:
    """Return k-space complex64 (image, coil, readout, interleaf)."""
    first = images.order[0]
    coils, samples = int(heads["active_channels"][first]), int(heads["number_of_samples"][first])
    count = len(images.order) // len(images.labels)
    if 8 * coils * samples * count > MAX_SLICE_BYTES or kept.start >= kept.stop:
        raise InputError(
            f"{found.path}: a slice of {coils} coils and {count} interleaves is too large; split it"
        )
    everything = 2 * 8 * coils * samples * len(images.order)
    require_memory(everything, f"to read {found.path.name}", "use a machine with more, or split the file")
    kspace = np.zeros((len(images.labels), coils, kept.stop - kept.start, count), np.complex64)
    for number in range(len(images.labels)):
        for place, row in enumerate(found.rows(images.of_slice(number))):
            if row.shape != (coils, samples):
                raise InputError(
                    f"{found.path}: acquisition {images.of_slice(number)[place]} is not as long as it says; "
                    "it is damaged"
                )
            kspace[number, :, :, place] = row[:, kept]
    return kspace


def _carried(found: Acquired, heads: dict[str, np.ndarray], images: Images, kept: slice) -> np.ndarray:
    """Return trajectories (readout, interleaf, 2), or with an axis of images before where they differ."""
    axes = np.unique(heads["trajectory_dimensions"][images.order])
    if found.carried is None or axes[0] < 2:
        raise InputError(
            f"{found.path}: its trajectory is {found.encoding.trajectory} and its acquisitions carry none; "
            "give one as `trajectory`: a file, or golden-angle"
        )
    if len(axes) > 1:
        raise InputError(
            f"{found.path}: its acquisitions have not all trajectories of as many coordinates; write them "
            "alike"
        )
    points = []
    for number in range(len(images.labels)):
        mine = found.carried(images.of_slice(number))
        points.append(np.stack([one[kept, :2] for one in mine], axis=1))  # (readout, interleaf, 2)
    every = np.stack(points).astype(np.float32)
    return every[0] if np.abs(every - every[:1]).max() <= SAME else every


def _common(contrast: dict[str, float | str], frames: Frames | None) -> dict[str, float | str]:
    """Return the settings that all frames have: not those that each has a value of its own of."""
    own = {name for label in frames.labels for name in label} if frames else set()
    return {name: value for name, value in contrast.items() if name not in own}


def _geometry(
    heads: dict[str, np.ndarray], slabs: Images, away: np.ndarray, slice_mm: float | None
) -> Geometry | None:
    """Return where images lie; away: how many partitions each lies from the middle of its slab."""
    firsts = [slabs.of_slice(n)[0] for n in range(len(slabs.labels))]
    directions = [heads[name][firsts[0]].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")]
    frame = right_angles(*directions)
    positions = heads["position"][firsts].astype(float)
    if frame is None or not positions.any() or (away.any() and slice_mm is None):
        return None
    steps = away[:, None] * frame[2] * (slice_mm or 0.0)
    return Geometry((positions[:, None] + steps).reshape(-1, 3), *frame)
