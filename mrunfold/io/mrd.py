"""ISMRMRD (MRD) HDF5 files: acquisitions in the order of measurement, sorted into Cartesian k-space.

The layout is read with h5py under the checks of `io.hdf5`; the ISMRMRD standard (Inati et al., Magn Reson Med
77:411, 2017) says what its fields mean.
"""

from __future__ import annotations

import logging
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import MAX_XML_BYTES, Encoding, parse_encoding
from mrunfold.io.hdf5 import MAX_SLICE_BYTES, check_size, find, open_h5, reading
from mrunfold.io.heap import check_heaps, read_text
from mrunfold.io.mrd_lines import Lines, geometry_of, read_heads, sort_lines
from mrunfold.io.scan import Header, Scan, refuse_not_finite

__all__ = ["MrdScan", "find_group"]

log = logging.getLogger(__name__)


def find_group(path: Path, file: h5py.File) -> str | None:
    """Return the name of the first group that holds ISMRMRD `xml` and `data`, or None."""
    with reading(path, "its groups"):
        names = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    for name in names:
        group = find(path, file, name)
        if isinstance(group, h5py.Group) and all(
            find(path, group, part) is not None for part in ("xml", "data")
        ):
            return name
    return None


class MrdScan(Scan):
    """An ISMRMRD file of 2-D Cartesian acquisitions.

    Lines lie at encode step 1, its central value at N//2; imaging lines win over calibration lines of the
    same place, averages are averaged, reversed readouts turned round.  Repetitions, phases, sets and
    contrasts follow one another as further slices (`labels`); there is no geometry then.  Raises InputError
    for 3-D and non-Cartesian acquisitions, a header that makes no sense, and sizes that cannot be true.
    """

    labels: tuple[dict[str, int], ...]

    def __init__(self, path: Path, group: str | None = None) -> None:
        self.path = path
        self._file = open_h5(path)
        try:
            self._open(group)
        except BaseException:
            self._file.close()
            raise

    def _open(self, group: str | None) -> None:
        name = group or find_group(self.path, self._file)
        parent = find(self.path, self._file, name) if name else None
        if not isinstance(parent, h5py.Group):
            raise InputError(f"{self.path}: no group with ISMRMRD `xml` and `data`")
        data = find(self.path, parent, "data")
        if not isinstance(data, h5py.Dataset) or data.ndim != 1 or data.size == 0:
            raise InputError(f"{self.path}: its ISMRMRD data hold no acquisitions")
        check_size(self.path, data, data.size)
        check_heaps(self.path, data)
        self._data = data
        encoding = _read_xml(self.path, find(self.path, parent, "xml"))
        heads = read_heads(self.path, data)
        self._lines = sort_lines(self.path, heads, encoding)
        self.labels = self._lines.labels
        self._bandwidth = encoding.noise_bandwidth
        self.header = _header(self._lines, encoding)
        needed = 8 * self.header.coils * self.header.matrix[0] * self.header.matrix[1]
        if needed > MAX_SLICE_BYTES:
            raise InputError(
                f"{self.path}: a slice of {self.header.coils} coils, {self.header.matrix}, "
                f"needs {needed / 1e9:.3g} GB; the header is damaged or the file must be split"
            )

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

    def kspace(self, index: int) -> np.ndarray:
        index = self._index(index)
        readout, phase = self.header.matrix
        kspace = np.zeros((self.header.coils, readout, phase), np.complex64)
        counts = np.zeros((readout, phase), np.float32)
        chosen = self._lines.of_slice(index)
        for number, row in zip(chosen, self._rows(chosen, self.header.coils), strict=True):
            source, target = self._lines.span(number, readout)
            if self._lines.reverse[number]:
                row = row[:, ::-1]
            line = self._lines.line[number]
            kspace[:, target, line] += row[:, source]
            counts[target, line] += 1
        kspace /= np.maximum(counts, 1)
        refuse_not_finite(self.path, kspace, index)
        return kspace

    def acquired(self, index: int) -> np.ndarray:
        mask = np.zeros(self.header.matrix, dtype=bool)
        for number in self._lines.of_slice(self._index(index)):
            mask[self._lines.span(number, self.header.matrix[0])[1], self._lines.line[number]] = True
        return mask

    def noise(self) -> np.ndarray | None:
        """Return the noise scan, complex64 (coil, samples), scaled to k-space without readout oversampling.

        Noise variance is inverse to the dwell time and to the number of averages.  The receiver's filter
        takes noise from the ends of the oversampled readout only, so what is left once they are cut off has
        1/(relative noise bandwidth) of the mean over all of it:
        σ² = σ²_scan · dwell_scan / dwell_image / bandwidth / averages (Kellman, McVeigh, MRM 54:1439, 2005).
        None where the file has no noise scan.
        """
        chosen = self._lines.noise
        if not len(chosen):
            return None
        dwell = self._lines.dwell
        image = dwell[self._lines.order[0]]
        bandwidth = self._bandwidth if self.header.unoversampled < self.header.matrix[0] else 1.0
        rows = []
        for number, row in zip(chosen, self._rows(chosen, self.header.coils), strict=True):
            ratio = dwell[number] / image if dwell[number] > 0 and image > 0 else 1.0
            ratio /= bandwidth
            rows.append(row * np.float32(np.sqrt(ratio / self._lines.averages)))
        noise = np.concatenate(rows, axis=1)  # (coil, samples)
        if not np.isfinite(noise).all():
            raise InputError(f"{self.path}: its noise scan holds NaN or infinity; repair the file")
        return noise

    def close(self) -> None:
        self._file.close()


def _read_xml(path: Path, dataset: h5py.Dataset | h5py.Group | None) -> Encoding:
    encoding = parse_encoding(path, read_text(path, dataset, MAX_XML_BYTES))
    if encoding.trajectory != "cartesian":
        raise InputError(
            f"{path}: its trajectory is {encoding.trajectory}; 2-D Cartesian scans are read, grid it first"
        )
    if encoding.encoded.matrix[2] > 1:
        raise InputError(
            f"{path}: a 3-D scan of {encoding.encoded.matrix[2]} partitions; 2-D Cartesian scans are read, "
            "inverse-transform the partitions and write them as slices"
        )
    return encoding


def _header(lines: Lines, encoding: Encoding) -> Header:
    encoded, recon = encoding.encoded, encoding.recon
    readout, phase = encoded.matrix[:2]
    ratio = [r / e for r, e in zip(recon.matrix, encoded.matrix, strict=True)]
    pixel = slice_mm = None
    if encoded.fov and recon.fov:
        # By field of view: a reconSpace matrix larger than that is interpolation, which is not done here.
        ratio = [min(r / e, 1.0) for r, e in zip(recon.fov, encoded.fov, strict=True)]
        pixel = (encoded.fov[0] / readout, encoded.fov[1] / phase)
        slice_mm = recon.fov[2]
    crop = tuple(max(1, min(n, round(n * r))) for n, r in zip((readout, phase), ratio, strict=False))
    first, last = int(lines.line[lines.order].min()), int(lines.line[lines.order].max())
    if encoding.step1 is not None:
        first = phase // 2 - encoding.step1.center + encoding.step1.minimum
        last = phase // 2 - encoding.step1.center + encoding.step1.maximum
    return Header(
        format="mrd",
        slices=len(lines.labels),
        coils=lines.coils,
        matrix=(readout, phase),
        unoversampled=crop[0],
        crop=crop,  # type: ignore[arg-type]
        pixel_mm=pixel,
        slice_mm=slice_mm,
        geometry=geometry_of(lines),
        padding=(max(first, 0), min(last + 1, phase)),
        contrast=encoding.contrast,
    )
