"""3-D scans as acquisitions: readouts with two phase encodings, read in pieces of some lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding, Limits
from mrunfold.io.frames import Frames
from mrunfold.io.mrd_lines import Lines
from mrunfold.io.scan import Geometry, Header
from mrunfold.io.volume_centre import Look, look
from mrunfold.io.volumes import Piece, VolumeSource, blocks, refuse_not_finite_volume

if TYPE_CHECKING:
    from mrunfold.io.acquisitions import AcquisitionScan

__all__ = ["AcquisitionVolume"]

PIECE_BYTES = 64 << 20
MOST_BYTES = 1 << 40  # of a volume
NEAR = 0.1  # of each phase encoding; a volume without any sample so near the centre is not finished


class AcquisitionVolume(VolumeSource):
    """Volumes of acquisitions: one for each of the images that `scan` would have as a 2-D scan (`labels`).

    Several slabs are volumes too.  A partition's centre lies at position + slice_dir·(p − P//2)·d, for the
    position of an acquisition is that of its slab.  Raises InputError for sizes that cannot be true.
    """

    def __init__(self, scan: AcquisitionScan, lines: Lines, encoding: Encoding) -> None:
        self._scan, self._lines = scan, lines
        self.path, self.partitions, self.volumes = scan.path, lines.partitions, len(lines.labels)
        self.loose = lines.loose
        readout, phase = scan.header.matrix
        ratio = 1.0
        if encoding.encoded.fov and encoding.recon.fov:
            ratio = min(encoding.recon.fov[2] / encoding.encoded.fov[2], 1.0)
        each = max(1, round(self.partitions * ratio))
        row = 8 * lines.coils * readout
        if row * self.partitions > PIECE_BYTES * 8 or row * phase * self.partitions > MOST_BYTES:
            raise InputError(
                f"{self.path}: a 3-D scan of {readout}×{phase}×{self.partitions} and {lines.coils} coils is "
                "too large; the header is damaged or the file must be split"
            )
        self.block = (
            lines.coils,
            max(1, min(phase, PIECE_BYTES // (row * self.partitions))),
            self.partitions,
        )
        self.limits = (
            _limits(encoding.step1, phase, lines.line[lines.order]),
            _limits(encoding.step2, self.partitions, lines.partition[lines.order]),
        )
        self.echo = np.zeros(readout, dtype=bool)
        for number in lines.order[:: max(1, len(lines.order) // 256)]:
            self.echo[lines.span(number, readout)[1]] = True
        self.header = self._header(scan.header, each)
        self._looks: dict[int, Look] = {}

    def _header(self, header: Header, each: int) -> Header:
        kept = np.arange(each) - each // 2
        geometry = header.geometry
        if geometry is not None and header.slice_mm is not None:
            steps = kept[:, None] * np.asarray(geometry.normal, float) * header.slice_mm
            positions = np.concatenate([centre + steps for centre in geometry.positions])
            geometry = Geometry(positions, geometry.read, geometry.phase, geometry.normal)
        frames = header.frames
        if frames is not None:
            frame = tuple(f for f in frames.frame for _ in range(each))
            place = tuple(slab * each + p for slab in frames.place for p in range(each))
            frames = Frames(frames.labels, frame, place)
        return replace(
            header,
            slices=self.volumes * each,
            geometry=geometry if header.slice_mm is not None else None,
            frames=frames,
        )

    def pieces(self, volume: int) -> Iterator[Piece]:
        """Yield the lines in groups, all coils and partitions of each; averages are averaged."""
        readout, phase = self.header.matrix
        mine = self._lines.of_slice(volume)
        for some in blocks(phase, self.block[1]):
            line = self._lines.line[mine]
            chosen = mine[(line >= some.start) & (line < some.stop)]
            if not len(chosen):
                continue
            shape = (readout, some.stop - some.start, self.partitions)
            kspace = self._assembled(chosen, shape, some.start)
            refuse_not_finite_volume(self.path, kspace, 0)
            yield Piece(slice(0, self.header.coils), some, slice(0, self.partitions), kspace)

    def _assembled(self, chosen: np.ndarray, shape: tuple[int, int, int], first: int) -> np.ndarray:
        kspace = np.zeros((self.header.coils, *shape), np.complex64)
        counts = np.zeros(shape, np.float32)
        for number, target, row in self._scan.rows_of(chosen):
            line, partition = self._lines.line[number] - first, self._lines.partition[number]
            kspace[:, target, line, partition] += row
            counts[target, line, partition] += 1
        kspace /= np.maximum(counts, 1)
        return np.conj(kspace, out=kspace) if self._scan.conjugated else kspace

    def acquired(self, volume: int) -> np.ndarray:
        found = np.zeros((self.header.matrix[1], self.partitions), dtype=bool)
        mine = self._lines.of_slice(volume)
        found[self._lines.line[mine], self._lines.partition[mine]] = True
        return found

    def look(self, volume: int = 0) -> Look:
        """Return what the lines about the middle of both phase encodings show."""
        if volume not in self._looks:
            size = (*self.header.matrix, self.partitions)
            self._looks[volume] = replace(look(self.pieces(volume), size), acquired=self.acquired(volume))
        return self._looks[volume]

    def calibration(self, volume: int, width: int) -> np.ndarray | None:
        lines = self._lines
        slab = lines.labels[volume]["slice"]
        apart = lines.calibration[lines.slice_counter[lines.calibration] == slab]
        if not len(apart):
            return None
        from mrunfold.masks import calibration_region

        size = self.header.matrix[1], self.partitions
        there = np.zeros(size, dtype=bool)
        there[lines.line[apart], lines.partition[apart]] = True
        region = tuple(min(n, width) for n in calibration_region(there))
        if not min(region):
            return None
        start = [n // 2 - m // 2 for n, m in zip(size, region, strict=True)]
        line, partition = lines.line[apart] - start[0], lines.partition[apart] - start[1]
        inside = (line >= 0) & (line < region[0]) & (partition >= 0) & (partition < region[1])
        shape = (self.header.matrix[0], region[0], self.partitions)
        kspace = self._assembled(apart[inside], shape, start[0])[..., start[1] : start[1] + region[1]]
        refuse_not_finite_volume(self.path, kspace, 0)
        return kspace

    def noise(self) -> np.ndarray | None:
        return self._scan.noise()

    def noise_ratio(self, volume: int) -> float:
        return self._scan.noise_ratio(volume)

    def number(self, volume: int) -> int:
        return self._scan.number(volume)

    def refused(self, volumes: Iterable[int]) -> str | None:
        size = np.array([self.header.matrix[1], self.partitions])
        for volume in volumes:
            away = np.abs(np.argwhere(self.acquired(volume)) - size // 2)
            if not (away <= np.maximum(2, NEAR * size)).all(axis=1).any():
                return f"volume {volume} of {self.volumes} has no sample near the centre of k-space"
        return None

    def close(self) -> None:
        self._scan.close()


def _limits(limits: Limits | None, size: int, found: np.ndarray) -> tuple[int, int]:
    """Return the first sample that a complete scan has, and one after the last."""
    first, last = int(found.min()), int(found.max())
    if limits is not None:
        first = min(first, size // 2 - limits.center + limits.minimum)
        last = max(last, size // 2 - limits.center + limits.maximum)
    return max(first, 0), min(last + 1, size)
