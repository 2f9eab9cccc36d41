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
from mrunfold.io.trajectory import Trajectory, TrajectoryScan, points_of

__all__ = ["Acquired", "AlongScan"]

KEY = (*VOLUME, "slice")
UNIT = 0.5 * (1 + 1e-3)  # a trajectory that reaches no farther is in cycles a pixel
SAME = 1e-3  # cycles a pixel or per field of view, by which trajectories of images may differ
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
    """Imaging acquisitions: their numbers, image after image, the image of each, and counters of images."""

    order: np.ndarray
    which: np.ndarray
    labels: tuple[dict[str, int], ...]

    def of_slice(self, index: int) -> np.ndarray:
        """Return the numbers of one image's acquisitions, in the order measured."""
        return self.order[self.which == index]


class AlongScan(TrajectoryScan):
    """Images of acquisitions along trajectories (kx, ky), each an interleaf, in the order measured.

    Carried trajectories are in cycles a pixel (−0.5 to 0.5) or in cycles per field of view.  kx goes along
    the read direction, which is the image's first axis.  Repetitions, phases, sets, weightings and contrasts
    are frames, which may have trajectories of their own.  Of Siemens scanners the trajectory is negated:
    their files assume the other sign of the Fourier transform.  All is read at once.  given: a trajectory
    where acquisitions carry none, or another is to be taken.  Raises InputError for acquisitions without a
    trajectory, of unlike lengths, and with partitions.
    """

    def __init__(self, found: Acquired, given: Trajectory | None = None) -> None:
        path, encoding = found.path, found.encoding
        heads = diffusion_apart(found.heads, encoding.diffusion[0] if encoding.diffusion else None)
        images = _images(path, heads)
        first = images.order[0]
        samples = int(heads["number_of_samples"][first])
        kept = slice(int(heads["discard_pre"][first]), samples - int(heads["discard_post"][first]))
        kspace = _read(found, heads, images, kept)
        matrix = encoding.encoded.matrix[:2] if given is None or given.matrix is None else given.matrix
        if given is None:
            points = _carried(found, heads, images, kept)
            points = points * np.array(matrix, np.float32) if np.abs(points).max() <= UNIT else points
        else:
            centre = int(heads["center_sample"][first]) - kept.start
            shape = kspace.shape[2:4]
            points = points_of(given, shape, matrix, centre if centre > 0 else None)
        frames, said = frames_of(images, heads, encoding)
        super().__init__(kspace, -points if encoding.siemens else points, matrix, path, frames)
        fov = encoding.encoded.fov
        self.header = replace(
            self.header,
            format=found.kind,
            pixel_mm=None if fov is None else (fov[0] / matrix[0], fov[1] / matrix[1]),
            slice_mm=None if fov is None else fov[2],
            geometry=_geometry(heads, [images.of_slice(n)[0] for n in range(len(images.labels))]),
            contrast=_common(encoding.contrast, frames),
            notes=found.notes + encoding.notes + said,
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


def _images(path: Path, heads: dict[str, np.ndarray]) -> Images:
    """Return the imaging acquisitions by image, in the order measured."""
    flags = heads["flags"].astype(np.uint64)
    chosen = np.flatnonzero(~np.any([flagged(flags, name) for name in NOT_IMAGE], axis=0))
    if not len(chosen):
        raise InputError(f"{path}: it holds no imaging acquisition")
    if np.ptp(heads["idx.kspace_encode_step_2"][chosen]) > 0:
        raise InputError(
            f"{path}: a stack of trajectories (partitions), which is not read; a plane at a time is"
        )
    for name, words in (("number_of_samples", "as many samples"), ("active_channels", "as many coils")):
        if len(np.unique(heads[name][chosen])) > 1:
            raise InputError(f"{path}: its acquisitions have not all {words}; write them alike")
    keys = np.stack([heads[f"idx.{name}"][chosen] for name in KEY], axis=1)
    unique, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    if len(counts := np.unique(np.bincount(which))) > 1:
        raise InputError(f"{path}: its images have {counts.tolist()} interleaves; split it")
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


def _geometry(heads: dict[str, np.ndarray], firsts: list[int]) -> Geometry | None:
    directions = [heads[name][firsts[0]].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")]
    frame = right_angles(*directions)
    positions = heads["position"][firsts].astype(float)
    if frame is None or not positions.any():
        return None
    return Geometry(positions, *frame)
