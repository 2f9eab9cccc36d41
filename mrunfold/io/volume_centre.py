"""Where the centre of 3-D k-space lies: measured on the samples, put at N//2 where it is elsewhere.

As `io.centre` does it for slices: what is found there holds along three axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.centre import CLEAR, NEAR, spokes, swapped_halves
from mrunfold.io.volumes import Piece, VolumeSource

__all__ = ["CentredVolume", "Look", "centred_volume", "look"]

AXES = ("readout", "phase", "partition")
PEAKED = 0.25  # of an axis holds its energy: it is one of k-space
FEW = 16  # samples of an axis that is judged by where its energy is largest alone


@dataclass(frozen=True)
class Look:
    """What the samples of some coils show.

    acquired: bool (phase, partition), where they are not zero; power: Σ|k|² along readout, phase and
    partition; peak: the largest sample; clear: it stands out of the noise.
    """

    acquired: np.ndarray
    power: tuple[np.ndarray, np.ndarray, np.ndarray]
    peak: tuple[int, int, int]
    clear: bool

    def peaked(self, axis: int) -> bool:
        """Return whether the energy along an axis lies about one place, as that of k-space does."""
        power = self.power[axis]
        if len(power) < FEW:
            near = abs(int(power.argmax()) - len(power) // 2) <= 1
            return near and bool(power.max() > 2 * np.median(power))
        spread = float(power.sum()) ** 2 / max(len(power) * float((power**2).sum()), 1e-300)
        return 0 < spread < PEAKED


def look(pieces: Iterable[Piece], size: tuple[int, int, int]) -> Look:
    """Return what pieces of k-space of `size` (readout, phase, partition) show.

    Where pieces are of one coil each, the first that has samples is looked at.
    """
    acquired = np.zeros(size[1:], dtype=bool)
    power = [np.zeros(n) for n in size]
    largest, peak, measured = 0.0, (0, 0, 0), []
    coil = -1
    for piece in pieces:
        if piece.coils.start > coil and acquired.any():
            break
        coil = piece.coils.start
        energy = np.square(np.abs(piece.kspace), dtype=np.float64).sum(axis=0)  # (readout, phase, partition)
        acquired[piece.phases, piece.partitions] |= energy.any(axis=0)
        for axis, part in enumerate((slice(None), piece.phases, piece.partitions)):
            power[axis][part] += energy.sum(axis=tuple(a for a in range(3) if a != axis))
        some = energy[energy > 0]
        measured.append(some[:: max(1, some.size // 4096)])
        if (here := float(energy.max(initial=0))) > largest:
            x, y, z = np.unravel_index(int(energy.argmax()), energy.shape)
            largest = here
            peak = int(x), int(y) + piece.phases.start, int(z) + piece.partitions.start
    median = float(np.median(np.concatenate(measured))) if largest > 0 else 0.0
    return Look(acquired, (power[0], power[1], power[2]), peak, largest > CLEAR * median)


def centred_volume(source: VolumeSource) -> VolumeSource:
    """Return the source, or one that puts its k-space's centre at N//2 and says so in `header.notes`.

    Raises InputError where the centre lies in every line, as in a stack of spokes, and where it must be
    found and cannot.
    """
    found, size = source.look(), (*source.header.matrix, source.partitions)
    if not found.clear:
        if source.loose:
            raise InputError(
                f"{source.path}: nothing says where the centre of k-space is and its samples do not show it; "
                "correct the encoding limits"
            )
        return source
    shift = tuple(_shift(found, axis, n) for axis, n in enumerate(size))
    if not source.loose and max(map(abs, shift)) <= NEAR:
        shift = (0, 0, 0)
    moved = CentredVolume(source, shift) if any(shift) else source
    halves = _halves(moved)
    return CentredVolume(source, shift, halves) if any(shift) or any(halves) else source


def _shift(found: Look, axis: int, n: int) -> int:
    """Return by how much an axis is to be moved; an offset that undersampling explains is none."""
    away = found.peak[axis] - n // 2
    nearest = 0
    if axis > 0:
        there = np.flatnonzero(found.acquired.any(axis=2 - axis))
        nearest = int(np.abs(there - n // 2).min(initial=n))
    return 0 if abs(away) <= nearest + NEAR else -away


def _halves(source: VolumeSource) -> tuple[bool, bool, bool]:
    """Return along which axes the image's halves are swapped; InputError for spokes."""
    across, along = _planes(source)
    if spokes(across):
        raise InputError(
            f"{source.path}: the centre of k-space lies in every line, as in a stack of spokes; give "
            "its `trajectory`"
        )
    readout, phase = swapped_halves(across)
    return readout, phase, swapped_halves(along)[1]


def _planes(source: VolumeSource) -> tuple[np.ndarray, np.ndarray]:
    """Return k-space through the centre: (coil, readout, phase) and (coil, readout, partition)."""
    readout, phase = source.header.matrix
    middle = source.partitions // 2
    first: np.ndarray | None = None
    second: np.ndarray | None = None
    coil = -1
    for piece in source.pieces(0):
        if piece.coils.start > coil and first is not None and first.any():
            break
        coil = piece.coils.start
        if first is None or second is None:
            first = np.zeros((len(piece.kspace), readout, phase), np.complex64)
            second = np.zeros((len(piece.kspace), readout, source.partitions), np.complex64)
        if piece.partitions.start <= middle < piece.partitions.stop:
            first[:, :, piece.phases] = piece.kspace[..., middle - piece.partitions.start]
        if piece.phases.start <= phase // 2 < piece.phases.stop:
            second[:, :, piece.partitions] = piece.kspace[:, :, phase // 2 - piece.phases.start]
    assert first is not None
    assert second is not None
    return first, second


class CentredVolume(VolumeSource):
    """A source whose k-space is moved by `shift` (readout, phase, partition), alternated where asked."""

    def __init__(
        self,
        source: VolumeSource,
        shift: tuple[int, ...],
        halves: tuple[bool, bool, bool] = (False, False, False),
    ) -> None:
        self._source, self._shift, self._halves = source, shift, halves
        self.path, self.partitions, self.volumes = source.path, source.partitions, source.volumes
        self.block = source.block
        self.echo = np.roll(source.echo, shift[0])
        phase = source.header.matrix[1]
        # Lines that go round their grid have no ends any more.
        self.limits = (
            (0, phase) if shift[1] else source.limits[0],
            (0, self.partitions) if shift[2] else source.limits[1],
        )
        self.header = replace(source.header, notes=source.header.notes + self._notes())

    def _notes(self) -> tuple[str, ...]:
        size = (*self._source.header.matrix, self.partitions)
        notes = []
        if any(self._shift):
            centre = tuple(n // 2 - s for n, s in zip(size, self._shift, strict=True))
            notes.append(
                f"the largest sample of k-space lies at {centre} of {'×'.join(map(str, size))} (readout, "
                f"phase, partition), not at {tuple(n // 2 for n in size)}: k-space is moved there"
            )
        if any(self._halves):
            names = " and ".join(name for name, half in zip(AXES, self._halves, strict=True) if half)
            notes.append(
                f"the image lies half a field of view off along the {names}: every second sample of k-space "
                "had the other sign, which is undone"
            )
        return tuple(notes)

    def _signs(self, axis: int, part: slice) -> np.ndarray | None:
        """Return what the samples `part` of an axis, once moved, are multiplied by; None for nothing."""
        if not self._halves[axis]:
            return None
        n = (*self._source.header.matrix, self.partitions)[axis]
        signs = np.where((np.arange(n) - n // 2) % 2, -1, 1).astype(np.float32)
        return signs[part].reshape(-1, *(1,) * (2 - axis))

    def pieces(self, volume: int) -> Iterator[Piece]:
        phase = self._source.header.matrix[1]
        for piece in self._source.pieces(volume):
            kspace = np.roll(piece.kspace, self._shift[0], axis=1)
            for phases, rows in _moved(piece.phases, self._shift[1], phase):
                for partitions, columns in _moved(piece.partitions, self._shift[2], self.partitions):
                    part = kspace[:, :, rows, columns]
                    for axis, where in enumerate((slice(None), phases, partitions)):
                        if (signs := self._signs(axis, where)) is not None:
                            part = part * signs
                    yield Piece(piece.coils, phases, partitions, part)

    def look(self, volume: int = 0) -> Look:
        return self._source.look(volume)  # as it was: nobody looks twice

    def acquired(self, volume: int) -> np.ndarray:
        return np.roll(self._source.acquired(volume), self._shift[1:], axis=(0, 1))

    def calibration(self, volume: int, width: int) -> np.ndarray | None:
        # What is moved is what has no right labels: a calibration scan of its own is then in no known place.
        return None if any(self._shift[1:]) else self._source.calibration(volume, width)

    def noise(self) -> np.ndarray | None:
        return self._source.noise()

    def noise_ratio(self, volume: int) -> float:
        return self._source.noise_ratio(volume)

    def number(self, volume: int) -> int:
        return self._source.number(volume)

    def refused(self, volumes: Iterable[int]) -> str | None:
        return self._source.refused(volumes)

    def close(self) -> None:
        self._source.close()


def _moved(part: slice, shift: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield where samples `part` of an axis lie once moved round it, and which of them: one run, or two."""
    start = (part.start + shift) % size
    count = part.stop - part.start
    first = min(count, size - start)
    yield slice(start, start + first), slice(0, first)
    if first < count:
        yield slice(0, count - first), slice(first, count)
