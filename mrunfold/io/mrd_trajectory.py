"""ISMRMRD files whose acquisitions carry a trajectory: radial and spiral scans, a plane at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import MAX_XML_BYTES, Encoding, parse_encoding
from mrunfold.io.hdf5 import MAX_SLICE_BYTES, check_size, find, open_h5, reading
from mrunfold.io.heap import check_heaps, read_text
from mrunfold.io.memory import require_memory
from mrunfold.io.mrd import choose_group, find_groups
from mrunfold.io.mrd_heads import NOT_IMAGE, flagged, read_heads
from mrunfold.io.scan import Geometry, right_angles
from mrunfold.io.trajectory import TrajectoryScan

__all__ = ["MrdTrajectoryScan", "trajectory_of"]

UNIT = 0.5 * (1 + 1e-3)  # a trajectory that reaches no farther is in cycles a pixel
SAME = 1e-3  # cycles per field of view, by which slices' trajectories may differ
COUNTERS = ("repetition", "phase", "set", "contrast", "slice")


def trajectory_of(path: Path, measurement: str | None) -> str | None:
    """Return the trajectory that an ISMRMRD header names, None for a Cartesian one."""
    with open_h5(path) as file:
        name, _ = choose_group(path, find_groups(path, file), measurement)
        named = _encoding(path, file[name]).trajectory
    return None if named in ("cartesian", "epi") else named


class MrdTrajectoryScan(TrajectoryScan):
    """An ISMRMRD file of acquisitions along trajectories (kx, ky): each an interleaf, in the order measured.

    Trajectories are in cycles a pixel (−0.5 to 0.5) or in cycles per field of view.  kx goes along the read
    direction, which is the image's first axis.  Repetitions, phases, sets and contrasts follow one another as
    further slices.  Of Siemens scanners the trajectory is negated: their files assume the other sign of the
    Fourier transform.  Noise acquisitions are not used: noise is estimated.  All is read at once.
    Raises InputError for acquisitions without a trajectory, of unlike lengths, and for slices whose
    trajectories differ.
    """

    def __init__(self, path: Path, measurement: str | None = None) -> None:
        with open_h5(path) as file:
            name, notes = choose_group(path, find_groups(path, file), measurement)
            group = file[name]
            encoding = _encoding(path, group)
            data = find(path, group, "data")
            if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.size == 0:
                raise InputError(f"{path}: its ISMRMRD data hold no acquisitions")
            check_size(path, data, data.size)
            check_heaps(path, data)
            heads = read_heads(path, data)
            images = _images(path, heads, encoding)
            said = _said(heads, images)
            kspace, points = _read(path, data, heads, images)
        matrix = (encoding.encoded.matrix[0], encoding.encoded.matrix[1])
        if np.abs(points).max() <= UNIT:
            points = points * np.array(matrix, np.float32)
        super().__init__(kspace, -points if encoding.siemens else points, matrix, path)
        fov = encoding.encoded.fov
        self.header = replace(
            self.header,
            format="mrd",
            pixel_mm=None if fov is None else (fov[0] / matrix[0], fov[1] / matrix[1]),
            slice_mm=None if fov is None else fov[2],
            geometry=_geometry(heads, [image[0] for image in images]),
            contrast=encoding.contrast,
            notes=notes + encoding.notes + said,
        )


def _encoding(path: Path, group: h5py.Group) -> Encoding:
    return parse_encoding(path, read_text(path, find(path, group, "xml"), MAX_XML_BYTES))


def _images(path: Path, heads: dict[str, np.ndarray], encoding: Encoding) -> list[np.ndarray]:
    """Return the numbers of the imaging acquisitions of each image, in the order measured."""
    flags = heads["flags"].astype(np.uint64)
    use = ~np.any([flagged(flags, name) for name in NOT_IMAGE], axis=0)
    chosen = np.flatnonzero(use)
    if not len(chosen):
        raise InputError(f"{path}: it holds no imaging acquisition")
    for name, words in (
        ("trajectory_dimensions", "trajectories of as many coordinates"),
        ("number_of_samples", "as many samples"),
        ("active_channels", "as many coils"),
    ):
        if len(np.unique(heads[name][chosen])) > 1:
            raise InputError(f"{path}: its acquisitions have not all {words}; write them alike")
    if heads["trajectory_dimensions"][chosen[0]] < 2:
        raise InputError(
            f"{path}: its trajectory is {encoding.trajectory} and its acquisitions carry none; write `traj` "
            "(kx, ky) into each, or give k-space and trajectory as arrays to mrunfold.recon"
        )
    keys = np.stack([heads[f"idx.{name}"][chosen] for name in COUNTERS], axis=1)
    unique, which = np.unique(keys, axis=0, return_inverse=True)
    images = [chosen[which.reshape(-1) == number] for number in range(len(unique))]
    if len({len(image) for image in images}) > 1:
        raise InputError(f"{path}: its images have {sorted({len(i) for i in images})} interleaves; split it")
    return images


def _said(heads: dict[str, np.ndarray], images: list[np.ndarray]) -> tuple[str, ...]:
    """Return what a reader must know: what is not used, and what further slices are."""
    said = []
    if flagged(heads["flags"].astype(np.uint64), "noise").any():
        said.append("its noise acquisitions are not used along a trajectory: noise is estimated")
    firsts = [image[0] for image in images]
    several = [name for name in COUNTERS[:-1] if len(np.unique(heads[f"idx.{name}"][firsts])) > 1]
    if several:
        said.append(f"its {' and '.join(several)}s follow one another as slices, without labels")
    return tuple(said)


def _read(
    path: Path, data: h5py.Dataset, heads: dict[str, np.ndarray], images: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return k-space (slice, coil, readout, interleaf) and the trajectory (readout, interleaf, 2)."""
    first = images[0][0]
    coils, samples = int(heads["active_channels"][first]), int(heads["number_of_samples"][first])
    start, stop = int(heads["discard_pre"][first]), samples - int(heads["discard_post"][first])
    axes, count = int(heads["trajectory_dimensions"][first]), len(images[0])
    if 8 * coils * samples * count > MAX_SLICE_BYTES or start >= stop:
        raise InputError(f"{path}: a slice of {coils} coils and {count} interleaves is too large; split it")
    everything = 2 * 8 * coils * samples * count * len(images)
    require_memory(everything, f"to read {path.name}", "use a machine with more, or split the file")
    kspace = np.zeros((len(images), coils, stop - start, count), np.complex64)
    points = np.zeros((stop - start, count, 2), np.float32)
    for number, image in enumerate(images):
        with reading(path, "its acquisitions"):
            rows, trajectories = data.fields("data")[image.tolist()], data.fields("traj")[image.tolist()]
        for place, (row, along) in enumerate(zip(rows, trajectories, strict=True)):
            row, along = np.asarray(row), np.asarray(along)
            if row.size != 2 * coils * samples or along.size != axes * samples:
                raise InputError(
                    f"{path}: acquisition {image[place]} is not as long as it says; it is damaged"
                )
            kspace[number, :, :, place] = row.view(np.complex64).reshape(coils, -1)[:, start:stop]
            found = along.reshape(-1, axes)[start:stop, :2]
            if number == 0:
                points[:, place] = found
            elif np.abs(points[:, place] - found).max() > SAME:
                raise InputError(f"{path}: the trajectory differs between slices; reconstruct one at a time")
    return kspace, points


def _geometry(heads: dict[str, np.ndarray], firsts: list[int]) -> Geometry | None:
    directions = [heads[name][firsts[0]].astype(float) for name in ("read_dir", "phase_dir", "slice_dir")]
    frame = right_angles(*directions)
    positions = heads["position"][firsts].astype(float)
    if frame is None or not positions.any():
        return None
    return Geometry(positions, *frame)
