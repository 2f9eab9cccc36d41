"""3-D k-space that lies in one array: in memory, or a data set of an HDF5 file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.frames import Frames
from mrunfold.io.scan import Header
from mrunfold.io.volume_centre import Look, look
from mrunfold.io.volumes import Piece, VolumeSource, blocks, refuse_not_finite_volume

__all__ = ["ArrayVolume", "StoredVolume"]

PIECE_BYTES = 64 << 20


class StoredVolume(VolumeSource):
    """k-space of volumes that lie in one array, of which some lines of a coil are read at a time.

    header: of its images; volumes, partitions: how many; limits: as `VolumeSource`, None for the whole grid.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        volumes: int,
        partitions: int,
        limits: tuple[tuple[int, int], tuple[int, int]] | None = None,
    ) -> None:
        self.path, self.header, self.volumes, self.partitions = path, header, volumes, partitions
        readout, phase = header.matrix
        self.echo = np.ones(readout, dtype=bool)
        self.limits = limits or ((0, phase), (0, self.partitions))
        line = 8 * readout * self.partitions
        if line > PIECE_BYTES:
            raise InputError(f"{path}: one line of all partitions needs {line / 1e9:.3g} GB; split it")
        self.block = (1, max(1, min(phase, PIECE_BYTES // line)), self.partitions)
        self._looks: dict[int, Look] = {}

    def pieces(self, volume: int) -> Iterator[Piece]:
        for coil in range(self.header.coils):
            for some in blocks(self.header.matrix[1], self.block[1]):
                kspace = np.asarray(self._part(volume, coil, some), dtype=np.complex64)[None]
                refuse_not_finite_volume(self.path, kspace, coil)
                yield Piece(slice(coil, coil + 1), some, slice(0, self.partitions), kspace)

    @abstractmethod
    def _part(self, volume: int, coil: int, phases: slice) -> np.ndarray:
        """Return some lines of a coil, (readout, phase, partition)."""

    def acquired(self, volume: int) -> np.ndarray:
        """Return where the first coil that has samples has them."""
        return self.look(volume).acquired

    def look(self, volume: int = 0) -> Look:
        if volume not in self._looks:
            self._looks[volume] = look(self.pieces(volume), (*self.header.matrix, self.partitions))
        return self._looks[volume]


class ArrayVolume(StoredVolume):
    """k-space in memory, complex (frame, coil, readout, phase, partition), of which nothing else is known."""

    def __init__(self, kspace: np.ndarray, frames: bool = False, path: Path | str = "array") -> None:
        if kspace.ndim != 5 or kspace.dtype.kind != "c" or 0 in kspace.shape:
            raise InputError(
                "k-space of a 3-D scan is complex (coil, readout, phase, partition), or frames before it, "
                f"got {kspace.dtype} {kspace.shape}; 2-D slices need no `volume`"
            )
        count, coils, readout, phase, partitions = kspace.shape
        labels: list[dict[str, float]] = [{"frame": n} for n in range(count)]
        header = Header(
            format="array",
            slices=count * partitions,
            coils=coils,
            matrix=(readout, phase),
            unoversampled=readout,
            crop=(readout, phase),
            frames=Frames.grid(labels, partitions) if frames else None,
        )
        self._kspace = kspace
        super().__init__(Path(path), header, count, partitions)

    def _part(self, volume: int, coil: int, phases: slice) -> np.ndarray:
        return np.asarray(self._kspace[volume, coil, :, phases])
