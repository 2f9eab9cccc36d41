"""Which acquisition of an ISMRMRD file goes where in k-space, from the acquisition headers alone."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding
from mrunfold.io.heap import read_field
from mrunfold.io.scan import Geometry

__all__ = ["FLAGS", "Lines", "geometry_of", "read_heads", "sort_lines"]

log = logging.getLogger(__name__)

# ISMRMRD numbers its flags from 1: flag n is bit n − 1.
FLAGS = {
    "noise": 19,
    "calibration": 20,
    "calibration and imaging": 21,
    "reverse": 22,
    "navigation": 23,
    "phase correction": 24,
    "feedback": 26,
    "dummy scan": 27,
    "real-time feedback": 28,
    "surface coil correction": 29,
    "phase stabilisation reference": 30,
    "phase stabilisation": 31,
}
NOT_IMAGE = tuple(name for name in FLAGS if name not in {"calibration", "calibration and imaging", "reverse"})
VOLUME = ("repetition", "phase", "set", "contrast")  # counters that make further slices, slowest first
VECTORS = ("position", "read_dir", "phase_dir", "slice_dir")
FIELDS = (
    "flags", "number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample",
    "encoding_space_ref", "sample_time_us", *VECTORS,
)  # fmt: skip
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "average", *VOLUME)
MAX_ACQUISITIONS = 1_000_000


@dataclass(frozen=True)
class Lines:
    """Sorted acquisitions; arrays are indexed by the acquisition's number in the file unless said otherwise.

    line: phase-encoding line; start, stop: samples kept of the readout, once turned round; centre: that of
    k-space among all its samples, once turned round; order: numbers of all that are used, which: slice of
    each of `order`; labels: the counters of each slice; averages: how many acquisitions a place commonly has.
    """

    coils: int
    samples: np.ndarray
    line: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    centre: np.ndarray
    reverse: np.ndarray
    dwell: np.ndarray
    vectors: dict[str, np.ndarray]
    order: np.ndarray
    which: np.ndarray
    labels: tuple[dict[str, int], ...]
    noise: np.ndarray
    averages: int

    def of_slice(self, index: int) -> np.ndarray:
        """Return the numbers of one slice's acquisitions, rising."""
        return self.order[self.which == index]

    def span(self, number: int, readout: int) -> tuple[slice, slice]:
        """Return which samples of an acquisition are kept, and where along the readout they lie."""
        shift = readout // 2 - int(self.centre[number])
        first = max(int(self.start[number]), -shift)
        last = min(int(self.stop[number]), readout - shift)
        return slice(first, last), slice(first + shift, last + shift)


def read_heads(path: Path, data: h5py.Dataset) -> dict[str, np.ndarray]:
    """Return the needed fields of all acquisition headers, each (acquisition, …); no samples are read."""
    if not _is_acquisitions(data.dtype):
        raise InputError(f"{path}: its `data` are not ISMRMRD acquisitions (head, traj, data); write it anew")
    if data.size > MAX_ACQUISITIONS:
        raise InputError(f"{path}: {data.size} acquisitions, at most {MAX_ACQUISITIONS} are read; split it")
    raw = read_field(path, data, "head")
    heads = {name: np.asarray(raw[name]) for name in FIELDS}
    heads.update({f"idx.{name}": np.asarray(raw["idx"][name]).astype(np.int64) for name in COUNTERS})
    for name in ("number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample"):
        heads[name] = heads[name].astype(np.int64)
    # Samples are stored uncompressed: together they cannot be larger than the file.
    declared = 8 * int((heads["number_of_samples"] * heads["active_channels"]).sum())
    if declared > os.path.getsize(path):
        raise InputError(
            f"{path}: its acquisitions declare {declared / 1e6:.3g} MB but the file has "
            f"{os.path.getsize(path) / 1e6:.3g} MB; it is truncated or damaged"
        )
    return heads


def _is_acquisitions(dtype: np.dtype) -> bool:
    """Return whether rows have the fields that are used, numbers of the right shape in each."""
    if not {"head", "traj", "data"} <= set(dtype.names or ()):
        return False
    head = dtype["head"]
    if not {*FIELDS, "idx"} <= set(head.names or ()) or not {*COUNTERS} <= set(head["idx"].names or ()):
        return False
    vectors = all(head[name].base.kind == "f" and head[name].shape == (3,) for name in VECTORS)
    counts = all(head[name].kind in "ui" for name in FIELDS if name not in (*VECTORS, "sample_time_us"))
    counters = all(head["idx"][name].kind in "ui" for name in COUNTERS)
    floats = all(h5py.check_vlen_dtype(dtype[name]) == np.float32 for name in ("traj", "data"))
    return vectors and counts and counters and floats and head["sample_time_us"].kind == "f"


def _flagged(flags: np.ndarray, name: str) -> np.ndarray:
    return (flags >> np.uint64(FLAGS[name] - 1)) & np.uint64(1) > 0


def sort_lines(path: Path, heads: dict[str, np.ndarray], encoding: Encoding) -> Lines:
    """Return where each acquisition goes; raises InputError where one cannot be placed."""
    flags = heads["flags"].astype(np.uint64)
    noise = np.flatnonzero(_flagged(flags, "noise"))
    use = _used(path, flags, heads["encoding_space_ref"])
    keys = np.stack([heads[f"idx.{name}"] for name in (*VOLUME, "slice")], axis=1)
    calibration = _flagged(flags, "calibration") & ~_flagged(flags, "calibration and imaging")
    step = heads["idx.kspace_encode_step_1"]
    use = _imaging_wins(use, keys, step, calibration)
    order = np.flatnonzero(use)
    coils = _coils(path, heads["active_channels"], order, noise)
    if heads["idx.kspace_encode_step_2"][order].any():
        raise InputError(f"{path}: a 3-D scan (second phase encoding); 2-D Cartesian scans are read")
    line = _line(path, step, encoding, order)
    reverse = _flagged(flags, "reverse")
    start, stop, centre = _placed(path, heads, encoding.encoded.matrix[0], reverse, order)
    unique, which = np.unique(keys[order], axis=0, return_inverse=True)
    which = which.reshape(-1)
    labels = tuple(dict(zip((*VOLUME, "slice"), map(int, key), strict=True)) for key in unique)
    if any(len(set(unique[:, i])) > 1 for i in range(len(VOLUME))):
        log.info(
            "%s: repetitions, phases, sets or contrasts follow one another as %d slices",
            path.name,
            len(labels),
        )
    _, repeats = np.unique(np.stack([which, line[order]]), axis=1, return_counts=True)
    return Lines(
        coils=coils,
        samples=heads["number_of_samples"],
        line=line,
        start=start,
        stop=stop,
        centre=centre,
        reverse=reverse,
        dwell=np.nan_to_num(heads["sample_time_us"].astype(np.float64), posinf=0.0, neginf=0.0),
        vectors={name: heads[name].astype(np.float64) for name in VECTORS},
        order=order,
        which=which,
        labels=labels,
        noise=noise,
        averages=int(np.median(repeats)),
    )


def _used(path: Path, flags: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Return which acquisitions go into k-space, and say in the log which do not."""
    use = np.ones(len(flags), dtype=bool)
    for name in NOT_IMAGE:
        found = _flagged(flags, name)
        if found.any() and name != "noise":
            log.info("%s: %d %s acquisitions skipped", path.name, int(found.sum()), name)
        use &= ~found
    if (other := use & (space != 0)).any():
        log.info("%s: %d acquisitions of further encodings skipped", path.name, int(other.sum()))
        use &= ~other
    if not use.any():
        raise InputError(
            f"{path}: none of its {len(flags)} acquisitions is of an image; nothing to reconstruct"
        )
    return use


def _imaging_wins(use: np.ndarray, keys: np.ndarray, step: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Return `use` without calibration lines where an imaging line of the same place was acquired."""
    if not (use & calibration).any() or not (use & ~calibration).any():
        return use
    _, place = np.unique(np.column_stack([keys, step]), axis=0, return_inverse=True)
    place = place.reshape(-1)
    taken = np.zeros(int(place.max()) + 1, dtype=bool)
    taken[place[use & ~calibration]] = True
    return use & ~(calibration & taken[place])


def _coils(path: Path, channels: np.ndarray, order: np.ndarray, noise: np.ndarray) -> int:
    found = np.unique(channels[np.concatenate([order, noise])])
    if len(found) != 1 or found[0] == 0:
        raise InputError(
            f"{path}: its acquisitions have {found[:5].tolist()} coils; all must have the same number"
        )
    return int(found[0])


def _line(path: Path, step: np.ndarray, encoding: Encoding, order: np.ndarray) -> np.ndarray:
    phase = encoding.encoded.matrix[1]
    centre = encoding.step1.center if encoding.step1 else phase // 2
    line = step - centre + phase // 2
    outside = (line[order] < 0) | (line[order] >= phase)
    if outside.any():
        raise InputError(
            f"{path}: encode step {int(step[order][outside][0])} with centre {centre} lies outside the "
            f"encoded matrix of {phase} lines; the encoding limits are wrong"
        )
    return line


def _placed(
    path: Path, heads: dict[str, np.ndarray], readout: int, reverse: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (start, stop, centre) of each readout's samples once turned round."""
    samples, centre = heads["number_of_samples"], heads["center_sample"]
    # A writer that leaves the centre of a complete readout at 0 has not set it.
    unset = (centre == 0) & (samples == readout)
    if unset[order].any():
        log.info("%s: center_sample is not set, N//2 is taken", path.name)
    centre = np.where(unset, samples // 2, centre)
    centre = np.where(reverse, samples - 1 - centre, centre)
    start = np.where(reverse, heads["discard_post"], heads["discard_pre"])
    stop = samples - np.where(reverse, heads["discard_pre"], heads["discard_post"])
    shift = readout // 2 - centre
    # One sample may fall out: turned round, an even readout's centre moves by one.
    fits = (stop > start) & (start + shift >= -1) & (stop + shift <= readout + 1)
    if not fits[order].all():
        worst = int(order[np.argmin(fits[order])])
        raise InputError(
            f"{path}: acquisition {worst} has {int(samples[worst])} samples centred at "
            f"{int(heads['center_sample'][worst])}, which do not fit the encoded matrix of {readout}; "
            "the header is wrong or the readout is not Cartesian"
        )
    return start, stop, centre


def geometry_of(lines: Lines) -> Geometry | None:
    """Return the slices' geometry; None where it is not set, not consistent or a slice occurs twice."""
    first = [int(lines.of_slice(i)[0]) for i in range(len(lines.labels))]
    if len({label["slice"] for label in lines.labels}) != len(first):
        return None
    values = {name: lines.vectors[name][first] for name in VECTORS}  # each (slice, 3)
    if not all(np.isfinite(value).all() for value in values.values()):
        return None
    axes = np.stack([values[name] for name in VECTORS[1:]], axis=1)  # (slice, axis, 3)
    gram = axes[0] @ axes[0].T
    if np.abs(gram - np.eye(3)).max() > 1e-2 or np.abs(axes - axes[:1]).max() > 1e-3:
        log.info("directions are not set or not those of a stack of parallel slices: no geometry")
        return None
    read, phase, normal = (axis / np.linalg.norm(axis) for axis in axes[0])
    return Geometry(positions=values["position"], read=read, phase=phase, normal=normal)
