"""Which acquisitions of a stream belong to one image, and when the last of them is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Limits, parse_encoding
from mrunfold.io.mrd_heads import FLAGS, NOT_IMAGE, VOLUME
from mrunfold.io.mrd_lines import KEY
from mrunfold.io.readouts import Readout

__all__ = ["Arrivals", "Key", "Pile"]

Key = tuple[int, ...]  # the counters KEY of an image
AT = {name: place for place, name in enumerate(KEY)}
NO_SAMPLES = np.zeros((0, 0), np.complex64)


def _bit(flag: int) -> int:
    return 1 << (flag - 1)


# ISMRMRD numbers its flags from 1.
LAST_IN_STEP2, LAST_IN_SLICE, LAST_IN_REPETITION, LAST_IN_MEASUREMENT = map(_bit, (4, 8, 14, 25))
NOISE, PHASE_CORRECTION = _bit(FLAGS["noise"]), _bit(FLAGS["phase correction"])
SKIPPED = sum(_bit(FLAGS[name]) for name in NOT_IMAGE)
CALIBRATION, AND_IMAGING = _bit(FLAGS["calibration"]), _bit(FLAGS["calibration and imaging"])


@dataclass(frozen=True)
class Pile:
    """All that one image is made of, in the order of measurement.

    label: its counters; number: which image of the whole scan it is, if all are there that the header
    announces; readouts: the noise scan, calibration lines of its slice, and its own lines; first: its own
    first line; nbytes: of its own lines.
    """

    label: dict[str, int]
    number: int
    readouts: tuple[Readout, ...]
    first: Readout
    nbytes: int


@dataclass
class _Image:
    """Lines of an image that is not whole yet; places: (line, partition, average) that are there."""

    lines: list[tuple[int, Readout]] = field(default_factory=list)
    places: set[tuple[int, int, int]] = field(default_factory=set)
    partitions: set[int] = field(default_factory=set)


class Arrivals:
    """Sorts acquisitions of a stream into images as they come.

    An image is whole with a line that ends its slice, repetition or measurement by its flags, in the last of
    the averages that the header announces; where no flag says so, once all announced lines are there; else
    when the stream is closed.  A volume of a 3-D scan is whole with its last partition.  path: what messages
    call the scan; xml: its header.  Raises InputError for a header that makes no sense and for trajectories.
    """

    def __init__(self, path: Path, xml: bytes) -> None:
        self.path, self.xml = path, xml
        self.encoding = parse_encoding(path, xml)
        if self.encoding.trajectory != "cartesian":
            raise InputError(
                f"{path}: its trajectory is {self.encoding.trajectory}; Cartesian scans are reconstructed as "
                "they come, write the others into a file for `mrunfold recon`"
            )
        self._images: dict[Key, _Image] = {}
        self._calibration: list[tuple[int, Key, Readout]] = []
        self._always: list[tuple[int, Readout]] = []
        self._whole: set[Key] = set()
        self._space: int | None = None
        self._count = 0
        self.late = self.elsewhere = 0

    def add(self, acquisition: Any) -> tuple[list[Key], Readout | None]:
        """Take an ismrmrd.Acquisition; return the images that are whole now, and what of it is kept."""
        number = self._count
        self._count += 1
        head, flags = acquisition.getHead(), int(acquisition.flags)
        kept = Readout(bytes(head), acquisition.data, acquisition.traj.reshape(-1))
        if flags & SKIPPED:
            ended = list(self._images) if flags & LAST_IN_MEASUREMENT else []
            return ended, self._other(number, flags, kept)
        key = self._key(head.idx)
        if flags & CALIBRATION and not flags & AND_IMAGING:
            self._calibration.append((number, key, kept))
            ended = self._ended(head, flags, key) if key in self._images else []
            return ended, kept
        if self._space is None:
            self._space = head.encoding_space_ref
        if head.encoding_space_ref != self._space:
            self.elsewhere += 1
            return [], None
        if key in self._whole:
            self.late += 1
            return self._ended(head, flags, key), None
        image = self._images.setdefault(key, _Image())
        image.lines.append((number, kept))
        image.places.add((head.idx.kspace_encode_step_1, head.idx.kspace_encode_step_2, head.idx.average))
        image.partitions.add(head.idx.kspace_encode_step_2)
        return self._ended(head, flags, key), kept

    def _other(self, number: int, flags: int, kept: Readout) -> Readout | None:
        """Keep the noise scan, and of phase correction that there is one."""
        if flags & NOISE:
            self._always.append((number, kept))
            return kept
        if flags & PHASE_CORRECTION and not any(not one.samples.size for _, one in self._always):
            bare = Readout(kept.head, NO_SAMPLES, kept.trajectory)
            self._always.append((number, bare))
            return bare
        return None

    def _key(self, idx: Any) -> Key:
        counter = self.encoding.diffusion[0] if self.encoding.diffusion else None
        own = 0
        if counter is not None and counter not in VOLUME:
            own = idx.user[int(counter[5:])] if counter.startswith("user_") else getattr(idx, counter)
        return tuple(own if name == "diffusion" else getattr(idx, name) for name in KEY)

    @property
    def _averages(self) -> int:
        diffusion = self.encoding.diffusion is not None and self.encoding.diffusion[0] == "average"
        return 1 if diffusion else self.encoding.averages or 1

    def _ended(self, head: Any, flags: int, key: Key) -> list[Key]:
        """Return the images that are whole with this line."""
        if flags & LAST_IN_MEASUREMENT:
            return list(self._images)
        last = head.idx.average >= self._averages - 1
        if flags & LAST_IN_REPETITION and last:
            return [one for one in self._images if one[AT["repetition"]] == key[AT["repetition"]]]
        if flags & LAST_IN_SLICE and last and self._partitions_there(flags, key):
            return [one for one in self._images if self._same_slice(one, key)]
        image = self._images.get(key)
        return [key] if image is not None and len(image.places) >= self._announced() else []

    def _same_slice(self, one: Key, ended: Key) -> bool:
        """Whether an image ends with the last line of another: its own, or the last contrast of its slice."""
        if one == ended:
            return True
        if ended[AT["contrast"]] < self.encoding.counts.get("contrast", 1) - 1:
            return False
        return all(one[place] == ended[place] for name, place in AT.items() if name != "contrast")

    def _partitions_there(self, flags: int, key: Key) -> bool:
        count = _span(self.encoding.step2, self.encoding.encoded.matrix[2])
        if count == 1 or flags & LAST_IN_STEP2:
            return True
        image = self._images.get(key)
        return image is not None and len(image.partitions) >= count

    def _announced(self) -> int:
        encoded = self.encoding.encoded.matrix
        lines, partitions = _span(self.encoding.step1, encoded[1]), _span(self.encoding.step2, encoded[2])
        return lines * partitions * self._averages

    def take(self, key: Key) -> Pile:
        """Return what an image is made of, and forget its lines."""
        image = self._images.pop(key)
        self._whole.add(key)
        place = AT["slice"]
        apart = [(number, one) for number, other, one in self._calibration if other[place] == key[place]]
        parts = sorted([*self._always, *apart, *image.lines], key=lambda part: part[0])
        label = dict(zip(KEY, key, strict=True))
        return Pile(
            label,
            self.number_of(label),
            tuple(one for _, one in parts),
            image.lines[0][1],
            sum(one.nbytes for _, one in image.lines),
        )

    def close(self) -> list[Key]:
        """Return the images that are left when the stream is closed; of calibration lines if of no other."""
        if not self._images and not self._whole:
            for number, key, one in self._calibration:
                self._images.setdefault(key, _Image()).lines.append((number, one))
            self._calibration = []
        return sorted(self._images)

    def number_of(self, label: Mapping[str, int]) -> int:
        """Return which image of the whole scan has these counters, if the header announces all there are."""
        number = 0
        for name in KEY:
            size = self.encoding.counts.get(name, 1)
            diffusion = self.encoding.diffusion
            if name == "diffusion" and diffusion is not None and diffusion[0] not in VOLUME:
                size = len(diffusion[1])
            number = number * max(size, label[name] + 1, 1) + label[name]
        return number


def _span(limits: Limits | None, matrix: int) -> int:
    return matrix if limits is None else limits.maximum - limits.minimum + 1
