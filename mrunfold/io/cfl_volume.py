"""BART's .cfl files of 3-D k-space: readout, two phase encodings and coils in dimensions 0 to 3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.scan import Header
from mrunfold.io.volume_centre import Look, look
from mrunfold.io.volumes import Piece, VolumeSource, blocks, refuse_not_finite_volume

__all__ = ["CflVolume"]

PIECE_BYTES = 64 << 20


class CflVolume(VolumeSource):
    """k-space (readout, phase, partition, coil) of a .cfl, volumes in dimension 13, read in runs of bytes."""

    def __init__(self, path: Path, size: tuple[int, int, int], coils: int, volumes: int) -> None:
        self.path, self.volumes = path, volumes
        readout, phase, self.partitions = size
        self.header = Header(
            format="cfl",
            slices=volumes * self.partitions,
            coils=coils,
            matrix=(readout, phase),
            unoversampled=readout,
            crop=(readout, phase),
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
        readout, phase = self.header.matrix
        plane = readout * phase
        for coil in range(self.header.coils):
            for some in blocks(self.partitions, self.block[2]):
                before = (volume * self.header.coils + coil) * self.partitions + some.start
                count = plane * (some.stop - some.start)
                data = np.fromfile(self.path, dtype="<c8", count=count, offset=8 * plane * before)
                if data.size != count:
                    raise InputError(f"{self.path}: ends within coil {coil}; it is truncated")
                kspace = data.reshape(some.stop - some.start, phase, readout).transpose(2, 1, 0)[None]
                refuse_not_finite_volume(self.path, kspace, coil)
                yield Piece(slice(coil, coil + 1), slice(0, phase), some, kspace)

    def acquired(self, volume: int) -> np.ndarray:
        """Return where the first coil that has samples has them."""
        return self.look(volume).acquired

    def look(self, volume: int = 0) -> Look:
        if volume not in self._looks:
            self._looks[volume] = look(self.pieces(volume), (*self.header.matrix, self.partitions))
        return self._looks[volume]
