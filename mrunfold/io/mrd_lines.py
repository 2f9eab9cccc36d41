"""Which acquisition of an ISMRMRD file goes where in k-space, from the acquisition headers alone.

What acquisitions say of themselves wins over what the file's header says of them all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding
from mrunfold.io.mrd_gaps import incomplete_slices, unreached
from mrunfold.io.mrd_heads import FLAGS, NOT_IMAGE, VECTORS, VOLUME, diffusion_apart, flagged
from mrunfold.io.mrd_place import line_numbers, placed
from mrunfold.io.mrd_refusals import refuse_epi, refuse_trajectory, refuse_unlabelled
from mrunfold.io.scan import Geometry, right_angles

__all__ = ["FLAGS", "Lines", "geometry_of", "sort_lines"]

log = logging.getLogger(__name__)

KEY = (*VOLUME, "slice")
APART = ("separate", "external", "other")  # modes whose calibration lines are a scan of their own
LEAST_CENTRE = 6  # lines that coil calibration needs
SAME_DIRECTION = 1e-3  # headers round


@dataclass(frozen=True)
class Lines:
    """Sorted acquisitions; arrays are indexed by the acquisition's number in the file unless said otherwise.

    line: phase-encoding line; partition: of the second phase encoding, 0 in a 2-D scan; partitions: how many
    there are; start, stop: samples kept of the readout, once turned round; centre: that of
    k-space among all its samples, once turned round; order: numbers of all that are used, which: slice of
    each of `order`; labels: the counters of each slice; averages: how many acquisitions a place commonly has;
    average: its counter; calibration: numbers of those that coil maps alone are made of, and their counter
    `slice`; incomplete: what to say of slices that the scan did not finish, by their number; loose: the
    header's central line does not fit, `line` is right but for a shift; doubles: (calibration, imaging)
    acquisitions of one place, of which the former is not used; notes: what a reader must know.
    """

    coils: int
    samples: np.ndarray
    line: np.ndarray
    partition: np.ndarray
    partitions: int
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
    average: np.ndarray
    calibration: np.ndarray
    slice_counter: np.ndarray
    incomplete: dict[int, str]
    loose: bool
    doubles: np.ndarray
    notes: tuple[str, ...]

    def of_slice(self, index: int) -> np.ndarray:
        """Return the numbers of one slice's acquisitions, rising."""
        return self.order[self.which == index]

    def averages_of(self, index: int) -> int:
        """Return how many acquisitions a line of one slice commonly has."""
        mine = self.of_slice(index)
        _, repeats = np.unique(self.line[mine] * self.partitions + self.partition[mine], return_counts=True)
        return int(np.median(repeats))

    def calibration_of(self, index: int, phase: int) -> np.ndarray:
        """Return the numbers of what coil maps of a slice are made of besides itself; mostly none.

        Calibration lines apart from the image; else, where the slice has no sampled centre of k-space but all
        repetitions and cardiac phases together have one, all of these.
        """
        label = self.labels[index]
        if len(apart := self.calibration[self.slice_counter[self.calibration] == label["slice"]]):
            return apart
        if _run(self.line[self.of_slice(index)], phase) >= LEAST_CENTRE:
            return apart
        alike = [
            i
            for i, other in enumerate(self.labels)
            if all(other[name] == label[name] for name in ("slice", "set", "diffusion", "contrast"))
        ]
        together = self.order[np.isin(self.which, alike)]
        return together if _run(self.line[together], phase) >= LEAST_CENTRE else apart

    def span(self, number: int, readout: int) -> tuple[slice, slice]:
        """Return which samples of an acquisition are kept, and where along the readout they lie."""
        shift = readout // 2 - int(self.centre[number])
        first = max(int(self.start[number]), -shift)
        last = max(first, min(int(self.stop[number]), readout - shift))
        return slice(first, last), slice(first + shift, last + shift)


def _run(lines: np.ndarray, phase: int) -> int:
    """Return how many neighbouring lines about N//2 are all there."""
    there = np.zeros(phase, dtype=bool)
    there[lines[(lines >= 0) & (lines < phase)]] = True
    below, above = there[: phase // 2 + 1][::-1], there[phase // 2 :]
    ends = (int(np.argmin(side)) if not side.all() else len(side) for side in (below, above))
    return max(0, sum(ends) - 1)


def sort_lines(
    path: Path,
    heads: dict[str, np.ndarray],
    encoding_of: Callable[[int], Encoding],
    calibration_apart: bool = False,
) -> tuple[Lines, Encoding]:
    """Return where each acquisition goes, and the encoding of the images; InputError where one has no place.

    encoding_of: gives an encoding of the file's header by its number; calibration_apart: calibration lines
    are a scan of their own, whatever the header says.
    """
    flags = heads["flags"].astype(np.uint64)
    notes: list[str] = []
    use, space = _images(path, flags, heads["encoding_space_ref"], notes)
    refuse_trajectory(path, encoding := encoding_of(space))
    heads = diffusion_apart(heads, encoding.diffusion[0] if encoding.diffusion else None)
    keys = np.stack([heads[f"idx.{name}"] for name in KEY], axis=1)
    all_apart = calibration_apart or encoding.calibration in APART
    use, apart, doubles = _calibration(flags, heads, use, keys, space, all_apart)
    use, coils = _coils(path, heads["active_channels"], keys, use, notes)
    order = np.flatnonzero(use)
    refuse_epi(path, flags, keys, order)
    refuse_unlabelled(path, heads["idx.kspace_encode_step_1"][order], keys[order])
    line, partition, partitions, loose = line_numbers(path, heads, encoding, order, notes)
    reverse = flagged(flags, "reverse")
    start, stop, centre = placed(path, heads, encoding.encoded.matrix[0], reverse, order)
    apart = _apart(apart, heads, coils, encoding, encoding_of, space, (line, partition), notes)
    unique, which = _images_of(keys[order])
    labels = tuple(dict(zip(KEY, map(int, key), strict=True)) for key in unique)
    if (unique[:, :-1] != unique[0, :-1]).any():
        log.info("%s: repetitions, phases, sets or contrasts are frames", path.name)
    two = not loose and partitions == 1
    incomplete = incomplete_slices(_by_image(which, line[order]), encoding.encoded.matrix[1]) if two else {}
    notes += [*incomplete.values(), *([] if loose else unreached(line[order], encoding))]
    lines = Lines(
        coils=coils,
        samples=heads["number_of_samples"],
        line=line,
        partition=partition,
        partitions=partitions,
        start=start,
        stop=stop,
        centre=centre,
        reverse=reverse,
        dwell=np.nan_to_num(heads["sample_time_us"].astype(np.float64), posinf=0.0, neginf=0.0),
        vectors={name: heads[name].astype(float) for name in VECTORS},
        order=order,
        which=which,
        labels=labels,
        noise=_noise(np.flatnonzero(flagged(flags, "noise")), heads["active_channels"], coils, notes),
        averages=_commonly(which, line[order] * partitions + partition[order]),
        average=heads["idx.average"],
        calibration=apart,
        slice_counter=heads["idx.slice"],
        incomplete=incomplete,
        loose=loose,
        doubles=doubles[(heads["active_channels"][doubles] == coils).all(axis=1)],
        notes=tuple(notes),
    )
    return lines, encoding


def _by_image(which: np.ndarray, line: np.ndarray) -> list[list[int]]:
    """Return the lines of each image in the order of measurement."""
    ends = np.cumsum(np.bincount(which))[:-1]
    return [one.tolist() for one in np.split(line[np.argsort(which, kind="stable")], ends)]


def _commonly(which: np.ndarray, line: np.ndarray) -> int:
    """Return how many acquisitions a place commonly has."""
    _, repeats = np.unique(np.stack([which, line]), axis=1, return_counts=True)
    return int(np.median(repeats))


def _images_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different images (image, counter) among keys (acquisition, counter), and the one of each."""
    unique, which = np.unique(keys, axis=0, return_inverse=True)
    return unique, which.reshape(-1)


def _images(path: Path, flags: np.ndarray, space: np.ndarray, notes: list[str]) -> tuple[np.ndarray, int]:
    """Return which acquisitions are of images or calibration, and the encoding space of the images."""
    use = np.ones(len(flags), dtype=bool)
    for name in NOT_IMAGE:
        found = flagged(flags, name)
        if found.any() and name != "noise":
            log.info("%s: %d %s acquisitions skipped", path.name, int(found.sum()), name)
        use &= ~found
    if not use.any():
        raise InputError(
            f"{path}: none of its {len(flags)} acquisitions is of an image; nothing to reconstruct"
        )
    only = _calibrates_only(flags)
    image = use & ~only if (use & ~only).any() else use
    spaces, counts = np.unique(space[image], return_counts=True)
    main = int(spaces[np.argmax(counts)])
    if other := int(counts.sum() - counts.max()):
        notes.append(f"{other} acquisitions of other encoding spaces than {main} are not read")
    return use & ((space == main) | only), main


def _calibrates_only(flags: np.ndarray) -> np.ndarray:
    return flagged(flags, "calibration") & ~flagged(flags, "calibration and imaging")


def _calibration(
    flags: np.ndarray,
    heads: dict[str, np.ndarray],
    use: np.ndarray,
    keys: np.ndarray,
    space: int,
    all_apart: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which acquisitions make the image, and which calibrate apart from it, bool (acquisition,).

    Calibration lines of the images' own scan fill in where there is no imaging line; where there is one, the
    pair of numbers is returned as well, (pair, 2).
    """
    only = use & _calibrates_only(flags)
    inside = only & (heads["encoding_space_ref"] == space)
    if not (use & ~only).any():
        return inside, only & ~inside, np.zeros((0, 2), dtype=np.int64)
    apart = only if all_apart else only & ~inside
    use = use & ~apart
    _, place = np.unique(
        np.column_stack([keys, heads["idx.kspace_encode_step_1"], heads["idx.kspace_encode_step_2"]]),
        axis=0,
        return_inverse=True,
    )
    place = place.reshape(-1)
    imaging = np.full(int(place.max()) + 1, -1)
    imaging[place[use & ~only]] = np.flatnonzero(use & ~only)
    double = use & only & (imaging[place] >= 0)
    return use & ~double, apart, np.stack([np.flatnonzero(double), imaging[place[double]]], axis=1)


def _apart(
    apart: np.ndarray,
    heads: dict[str, np.ndarray],
    coils: int,
    encoding: Encoding,
    encoding_of: Callable[[int], Encoding],
    space: int,
    places: tuple[np.ndarray, np.ndarray],
    notes: list[str],
) -> np.ndarray:
    """Return the numbers of separate calibration lines on the images' grid; sets their `places`.

    places: line and partition of all acquisitions.
    """
    kept: list[np.ndarray] = []
    for other in np.unique(heads["encoding_space_ref"][apart]).tolist():
        numbers = np.flatnonzero(apart & (heads["encoding_space_ref"] == other))
        its = encoding if other == space else encoding_of(other)
        what = f"{len(numbers)} calibration lines" + ("" if other == space else f" of encoding space {other}")
        if not _same_spacing(encoding, its):
            notes.append(f"{what} have another field of view and are not used")
        elif (heads["active_channels"][numbers] != coils).any():
            notes.append(f"{what} have another number of coils and are not used")
        else:
            inside = np.ones(len(numbers), dtype=bool)
            for axis, limits in ((1, its.step1), (2, its.step2)):
                size, steps = encoding.encoded.matrix[axis], heads[f"idx.kspace_encode_step_{axis}"]
                middle = limits.center if limits else its.encoded.matrix[axis] // 2
                place = places[axis - 1]
                place[numbers] = steps[numbers] - middle + size // 2
                inside &= (place[numbers] >= 0) & (place[numbers] < size)
            kept.append(numbers[inside])
            notes.append(f"{what} are a scan of their own: they make the coil maps and are not in the image")
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)


def _same_spacing(one: Encoding, other: Encoding) -> bool:
    """Return whether samples of both lie equally dense in k-space."""
    if one.encoded.fov and other.encoded.fov:
        return bool(np.allclose(one.encoded.fov[:2], other.encoded.fov[:2], rtol=1e-2))
    return one.encoded.matrix[:2] == other.encoded.matrix[:2]


def _coils(
    path: Path, channels: np.ndarray, keys: np.ndarray, use: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, int]:
    """Return which acquisitions are left, and their number of coils: whole images of another are left out."""
    order = np.flatnonzero(use)
    unique, which = _images_of(keys[order])
    found = [np.unique(channels[order[which == i]]) for i in range(len(unique))]
    worst = next((counts for counts in found if len(counts) > 1 or counts[0] == 0), None)
    if worst is not None:
        raise InputError(
            f"{path}: lines of one image have {worst[:5].tolist()} coils; all must have the same number"
        )
    counts = np.array([one[0] for one in found])
    sizes = np.bincount(which)
    # Most acquisitions, and of equals most coils: body coil images come with those of an array.
    coils = int(max(np.unique(counts), key=lambda n: (int(sizes[counts == n].sum()), n)))
    if (left := counts != coils).any():
        where = _told_apart_by(unique[left], unique[~left]) or f"{int(left.sum())} images"
        notes.append(f"{where} with {counts[left][0]} coils instead of {coils} left out")
    return use & ~np.isin(np.arange(len(use)), order[left[which]]), coils


def _told_apart_by(some: np.ndarray, others: np.ndarray) -> str:
    """Return "set 0, contrast 1/2": counters of images (image, counter) whose values no other image has."""
    found = []
    for i, name in enumerate(KEY):
        values = set(some[:, i].tolist())
        if not values & set(others[:, i].tolist()):
            found.append(f"{name} {'/'.join(map(str, sorted(values)))}")
    return ", ".join(found)


def _noise(numbers: np.ndarray, channels: np.ndarray, coils: int, notes: list[str]) -> np.ndarray:
    kept = numbers[channels[numbers] == coils]
    if len(kept) < len(numbers):
        others = "/".join(map(str, np.unique(channels[np.setdiff1d(numbers, kept)]).tolist()))
        notes.append(f"a noise scan of {others} coils is left out: the images have {coils}")
    return kept


def geometry_of(lines: Lines) -> tuple[Geometry | None, tuple[str, ...]]:
    """Return the slices' geometry, None where it is not set or impossible, and what to note.

    A file without directions needs no note: that it has none is said everywhere.
    """
    first = [int(lines.of_slice(i)[0]) for i in range(len(lines.labels))]
    values = {name: lines.vectors[name][first] for name in VECTORS}  # each (slice, 3)
    axes = np.stack([values[name] for name in VECTORS[1:]], axis=1)  # (slice, axis, 3)
    if not np.any(axes):
        return None, ()
    frames = [right_angles(*one) for one in axes]
    finite = all(np.isfinite(value).all() for value in values.values())
    if not finite or any(frame is None for frame in frames):
        return None, ("the file's slice directions are not at right angles: images are not placed in space",)
    exact = np.stack([frame for frame in frames if frame is not None])
    if np.abs(axes - axes[:1]).max() <= SAME_DIRECTION:
        return Geometry(values["position"], *exact[0]), ()
    planes = len(np.unique(axes.reshape(len(axes), -1).round(2), axis=0))
    note = f"the slices have {planes} orientations: each is a stack of its own" if planes > 1 else ""
    return Geometry(values["position"], *exact.swapaxes(0, 1)), (note,) if note else ()
