"""BART's .cfl files of 3-D k-space: readout, two phase encodings and coils in dimensions 0 to 3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.cfl_dims import AVERAGE, COIL, SLICE, averages_said, frames_in, run_of
from mrunfold.io.scan import Header
from mrunfold.io.volume_centre import Look, look
from mrunfold.io.volumes import Piece, VolumeSource, blocks, refuse_not_finite_volume

__all__ = ["CflVolume"]

PIECE_BYTES = 64 << 20


class CflVolume(VolumeSource):
    """k-space (readout, phase, partition, coil) of a .cfl of these sixteen dimensions, read in runs of bytes.

    Slabs lie in dimension 13, frames in 5, 10 and 11, averages in 14, which are averaged.
    """

    def __init__(self, path: Path, dims: tuple[int, ...]) -> None:
        self.path, self._dims = path, dims
        size = readout, phase, self.partitions = dims[0], dims[1], dims[2]
        count, frames = frames_in(dims, dims[SLICE] * self.partitions)
        self.volumes = count * dims[SLICE]
        self.header = Header(
            format="cfl",
            slices=self.volumes * self.partitions,
            coils=dims[COIL],
            matrix=(readout, phase),
            unoversampled=readout,
            crop=(readout, phase),
            frames=frames,
            notes=averages_said(dims),
        )
        self.echo = np.ones(readout, dtype=bool)
        self.limits = (0, phase), (0, self.partitions)
        plane = 8 * readout * phase
        if plane > PIECE_BYTES:
            raise InputError(f"{path}: one partition of a coil needs {plane / 1e9:.3g} GB; split it")
        self.block = (1, phase, max(1, min(self.partitions, PIECE_BYTES // plane)))
        self._looks = {0: look(self.pieces(0), size)}
        if self._looks[0].acquired.any() and not self._looks[0].peaked(2):
            raise InputError(
                f"{path}: dimension 2, of {self.partitions}, has no centre as a second phase encoding has; "
                "if it is slices, `bart transpose 2 13 in out`; if it is coils, `bart transpose 2 3 in out`"
            )

    def pieces(self, volume: int) -> Iterator[Piece]:
        for coil in range(self.header.coils):
            for some in blocks(self.partitions, self.block[2]):
                kspace = self._part(volume, coil, some, 0)
                if (averages := self._dims[AVERAGE]) > 1:
                    taken = (kspace != 0).astype(np.float32)
                    for number in range(1, averages):
                        one = self._part(volume, coil, some, number)
                        kspace = kspace + one
                        taken += one != 0
                    kspace = kspace / np.maximum(taken, 1)
                refuse_not_finite_volume(self.path, kspace, coil)
                yield Piece(slice(coil, coil + 1), slice(0, self.header.matrix[1]), some, kspace)

    def _part(self, volume: int, coil: int, some: slice, average: int) -> np.ndarray:
        """Return some partitions of one average, complex64 (1, readout, phase, partition)."""
        readout, phase = self.header.matrix
        frame, place = divmod(volume, self._dims[SLICE])
        run = run_of(self._dims, frame, place, average)
        before = (run * self.header.coils + coil) * self.partitions + some.start
        count = readout * phase * (some.stop - some.start)
        data = np.fromfile(self.path, dtype="<c8", count=count, offset=8 * readout * phase * before)
        if data.size != count:
            raise InputError(f"{self.path}: ends within coil {coil}; it is truncated")
        return data.reshape(some.stop - some.start, phase, readout).transpose(2, 1, 0)[None]

    def acquired(self, volume: int) -> np.ndarray:
        """Return where the first coil that has samples has them."""
        return self.look(volume).acquired

    def look(self, volume: int = 0) -> Look:
        if volume not in self._looks:
            self._looks[volume] = look(self.pieces(volume), (*self.header.matrix, self.partitions))
        return self._looks[volume]
