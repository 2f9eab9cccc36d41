"""ISMRMRD (MRD) HDF5 files: acquisitions in the order of measurement, sorted into Cartesian k-space.

The layout is read with h5py under the checks of `io.hdf5`; the ISMRMRD standard (Inati et al., Magn Reson Med
77:411, 2017) says what its fields mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.acquisitions import AcquisitionScan
from mrunfold.io.encoding import MAX_XML_BYTES, parse_encoding
from mrunfold.io.hdf5 import check_size, find, open_h5, reading
from mrunfold.io.heap import check_heaps, read_text
from mrunfold.io.mrd_heads import read_heads
from mrunfold.io.mrd_samples import refuse_trajectories

__all__ = ["MrdScan", "find_acquisitions", "find_groups"]

USUAL_GROUP = "dataset"


def find_groups(path: Path, file: h5py.File) -> list[str]:
    """Return the names of the groups that hold ISMRMRD `xml` and `data`: the measurements of the file."""
    with reading(path, "its groups"):
        names = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    found = []
    for name in names:
        group = find(path, file, name)
        if isinstance(group, h5py.Group) and all(
            find(path, group, part) is not None for part in ("xml", "data")
        ):
            found.append(name)
    return found


def choose_group(path: Path, groups: list[str], wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the measurement to read, and a note where there are others.

    That is `wanted`; else the only one, or the one called `dataset` as ISMRMRD's tools call a scan.  Raises
    InputError that lists them where that does not decide.
    """
    listed = ", ".join(name if name.isprintable() and len(name) <= 40 else "…" for name in groups[:12])
    if wanted is not None and wanted not in groups:
        raise InputError(f"{path}: no measurement {wanted!r} in it; it holds {listed or 'none'}")
    if wanted is None and len(groups) > 1 and USUAL_GROUP not in groups:
        raise InputError(f"{path}: holds {len(groups)} measurements; choose one with `measurement`: {listed}")
    if not groups:
        raise InputError(f"{path}: no group holds ISMRMRD's xml and data; give an ISMRMRD file")
    chosen = wanted or (groups[0] if len(groups) == 1 else USUAL_GROUP)
    others = len(groups) - 1
    note = f"the file holds {len(groups)} measurements ({listed}): {chosen} is read; --measurement chooses"
    return chosen, (note,) if others else ()


def find_acquisitions(
    path: Path, file: h5py.File, measurement: str | None
) -> tuple[h5py.Dataset, bytes | str, tuple[str, ...]]:
    """Return the acquisitions of a measurement of an ISMRMRD file, its header's XML, and what to say of it.

    InputError where there are none, and for what no reader can hold or trust.
    """
    name, notes = choose_group(path, find_groups(path, file), measurement)
    parent = find(path, file, name)
    assert isinstance(parent, h5py.Group)
    data = find(path, parent, "data")
    if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.size == 0:
        raise InputError(f"{path}: its ISMRMRD data hold no acquisitions")
    check_size(path, data, data.size)
    check_heaps(path, data)
    return data, read_text(path, find(path, parent, "xml"), MAX_XML_BYTES), notes


class MrdScan(AcquisitionScan):
    """An ISMRMRD file of 2-D Cartesian acquisitions, see AcquisitionScan for what becomes of them."""

    def __init__(self, path: Path, measurement: str | None = None) -> None:
        super().__init__(path, "mrd")
        self._file = open_h5(path)
        try:
            self._open(measurement)
        except BaseException:
            self._file.close()
            raise

    def _open(self, measurement: str | None) -> None:
        self._data, xml, notes = find_acquisitions(self.path, self._file, measurement)
        self._sort(read_heads(self.path, self._data), partial(parse_encoding, self.path, xml), notes)

    def _refuse(self, heads: dict[str, np.ndarray]) -> None:
        """Look at the trajectories that acquisitions carry, of some all over the file."""

        def read(numbers: np.ndarray) -> Sequence[np.ndarray]:
            with reading(self.path, "its trajectories"):
                return self._data.fields("traj")[numbers.tolist()]

        refuse_trajectories(self.path, self._lines, heads["trajectory_dimensions"], read)

    def _rows(self, indices: np.ndarray, coils: int) -> list[np.ndarray]:
        """Return the samples of acquisitions, each complex64 (coil, samples)."""
        with reading(self.path, "its acquisitions"):
            raw = self._data.fields("data")[indices.tolist()]
        rows = []
        for number, floats in zip(indices, raw, strict=True):
            floats = np.asarray(floats)
            wanted = 2 * coils * int(self._lines.samples[number])
            if floats.dtype != np.float32 or floats.size != wanted:
                raise InputError(
                    f"{self.path}: acquisition {number} has {floats.size} values where its header says "
                    f"{wanted}; the file is damaged"
                )
            rows.append(np.ascontiguousarray(floats).view(np.complex64).reshape(coils, -1))
        return rows

    def close(self) -> None:
        self._file.close()
