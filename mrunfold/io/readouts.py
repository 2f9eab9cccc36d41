"""Acquisitions that are in memory, as a stream brings them: sorted by what sorts those of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.acquisitions import AcquisitionScan
from mrunfold.io.encoding import parse_encoding
from mrunfold.io.mrd_heads import heads_of
from mrunfold.io.mrd_samples import refuse_trajectories

__all__ = ["Readout", "ReadoutScan"]


@dataclass(frozen=True)
class Readout:
    """One acquisition: ISMRMRD's header as bytes, samples complex64 (coil, n), its trajectory's float32.

    samples: empty where only the header is looked at.
    """

    head: bytes
    samples: np.ndarray
    trajectory: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return len(self.head) + self.samples.nbytes + self.trajectory.nbytes


class ReadoutScan(AcquisitionScan):
    """A scan of acquisitions in memory, in the order of measurement, see AcquisitionScan.

    path: what messages call it; xml: the ISMRMRD header; number_of: the counters of an image → which image of
    the whole scan it is, None where these are the whole scan.
    """

    def __init__(
        self,
        path: Path,
        readouts: Sequence[Readout],
        xml: bytes,
        number_of: Callable[[Mapping[str, int]], int] | None = None,
    ) -> None:
        from ismrmrd.hdf5 import acquisition_header_dtype

        super().__init__(path, "mrd")
        if not readouts:
            raise InputError(f"{path}: holds no acquisitions; nothing to reconstruct")
        self._readouts, self._number_of = readouts, number_of
        raw = np.frombuffer(b"".join(one.head for one in readouts), acquisition_header_dtype)
        self._sort(heads_of(raw), partial(parse_encoding, path, xml))

    def _refuse(self, heads: dict[str, np.ndarray]) -> None:
        def read(numbers: np.ndarray) -> Sequence[np.ndarray]:
            return [self._readouts[number].trajectory for number in numbers.tolist()]

        refuse_trajectories(self.path, self._lines, heads["trajectory_dimensions"], read)

    def _rows(self, indices: np.ndarray, coils: int) -> list[np.ndarray]:
        rows = [self._readouts[number].samples for number in indices.tolist()]
        for number, row in zip(indices, rows, strict=True):
            if row.shape != (coils, int(self._lines.samples[number])):
                raise InputError(f"{self.path}: acquisition {number} has other samples than its header says")
        return rows

    def number(self, index: int) -> int:
        index = self._index(index) if self.volume is None else index
        return index if self._number_of is None else self._number_of(self.labels[index])

    def close(self) -> None:
        self._readouts = ()
