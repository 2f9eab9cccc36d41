"""Acquisitions in the order of measurement, sorted into Cartesian k-space, whatever file they come from."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.encoding import Encoding
from mrunfold.io.frames import Frames
from mrunfold.io.hdf5 import MAX_SLICE_BYTES
from mrunfold.io.mrd_frames import frames_of
from mrunfold.io.mrd_gaps import refuse_incomplete
from mrunfold.io.mrd_lines import Lines, geometry_of, sort_lines
from mrunfold.io.mrd_samples import (
    calibration_differs,
    refuse_cancelling,
    refuse_echoes,
    reversed_counts_back,
)
from mrunfold.io.mrd_volume import AcquisitionVolume
from mrunfold.io.scan import Geometry, Header, Scan, refuse_not_finite

__all__ = ["AcquisitionScan"]

log = logging.getLogger(__name__)

BLOCK = 1024  # acquisitions in memory at a time
SIEMENS = (
    "a Siemens scan: k-space is conjugated, for its slice directions assume the other sign of the Fourier "
    "transform"
)


class AcquisitionScan(Scan):
    """A file of readouts with the counters and flags of ISMRMRD; a subclass reads its headers and samples.

    Lines lie at encode step 1, its central value at N//2; imaging lines win over calibration lines of the
    same place, averages are averaged, reversed readouts turned round.  Repetitions, phases, sets, diffusion
    weightings and contrasts are frames, `labels` has the counters of each image, or of each volume of a 3-D
    scan (`volume`).  k-space of Siemens
    scanners is conjugated.  Raises InputError for non-Cartesian acquisitions, a header that makes no
    sense, and sizes that cannot be true.
    """

    labels: tuple[dict[str, int], ...]

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self._kind = path, kind

    @abstractmethod
    def _rows(self, indices: np.ndarray, coils: int) -> list[np.ndarray]:
        """Return the samples of acquisitions, their numbers rising, each complex64 (coil, samples)."""

    def _refuse(self, heads: dict[str, np.ndarray]) -> None:
        """Raise InputError for what only this kind of file can say of its acquisitions, once sorted."""

    def _sort(
        self,
        heads: dict[str, np.ndarray],
        encoding_of: Callable[[int], Encoding],
        notes: tuple[str, ...] = (),
    ) -> None:
        """Sort acquisitions by their headers (`read_heads`) and set the scan's own."""
        self._lines, encoding = sort_lines(self.path, heads, encoding_of)
        if calibration_differs(self._lines, self._samples):
            self._lines, encoding = sort_lines(self.path, heads, encoding_of, calibration_apart=True)
        self._refuse(heads)
        notes += (*encoding.notes, *self._lines.notes, *refuse_echoes(self.path, self._lines, self._samples))
        refuse_cancelling(self.path, self._lines, self._samples)
        notes += (*self._turned(), *self._together(encoding.encoded.matrix[1]))
        frames, said = frames_of(self._lines, heads, encoding)
        self.labels = self._lines.labels
        self._siemens = encoding.siemens
        self._bandwidth = encoding.noise_bandwidth
        self.header = _header(self._kind, self._lines, encoding, frames, notes + said)
        if self._lines.partitions > 1:
            self.volume = AcquisitionVolume(self, self._lines, encoding)
            return
        needed = 8 * self.header.coils * self.header.matrix[0] * self.header.matrix[1]
        if needed > MAX_SLICE_BYTES:
            raise InputError(
                f"{self.path}: a slice of {self.header.coils} coils, {self.header.matrix}, "
                f"needs {needed / 1e9:.3g} GB; the header is damaged or the file must be split"
            )

    @property
    def conjugated(self) -> bool:
        """Whether k-space is conjugated as it is read."""
        return self._siemens

    @property
    def loose(self) -> bool:
        """Whether the header's central line cannot be, so that k-space must say where its centre is."""
        return self._lines.loose

    def require(self, indices: Iterable[int]) -> None:
        refuse_incomplete(self.path, self._lines.incomplete, [self._index(i) for i in indices], len(self))

    def _turned(self) -> tuple[str, ...]:
        """Settle what `center_sample` means in reversed readouts, and say so where it is not the standard."""
        back = reversed_counts_back(self._lines, self._samples)
        if back is None:
            return ()
        mixed = "images have readouts of both directions and no phase correction: ghosts are to be expected"
        if back:
            return (mixed,)
        lines = self._lines
        centre = np.where(lines.reverse, lines.samples - 1 - lines.centre, lines.centre)
        self._lines = replace(lines, centre=centre)
        return (
            mixed,
            "center_sample of reversed readouts counts along k-space: measured at neighbouring lines",
        )

    def _together(self, phase: int) -> tuple[str, ...]:
        """Say where coil maps are made of all repetitions, because none has a sampled centre of k-space."""
        lines = self._lines
        if lines.coils == 1 or len(lines.calibration) or not len(lines.calibration_of(0, phase)):
            return ()
        return ("no image has a sampled centre of k-space: coil maps are made of the mean over repetitions",)

    def _samples(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return the samples of acquisitions in any order, each complex64 (coil, samples)."""
        unique, which = np.unique(indices, return_inverse=True)
        rows = self._rows(unique, self._lines.coils) if len(unique) else []
        return [rows[i] for i in which.reshape(-1)]

    def kspace(self, index: int) -> np.ndarray:
        index = self._index(index)
        kspace = self._assembled(self._lines.of_slice(index))
        refuse_not_finite(self.path, kspace, index)
        return kspace

    def calibration(self, index: int) -> np.ndarray | None:
        index = self._index(index)
        chosen = self._lines.calibration_of(index, self.header.matrix[1])
        if not len(chosen):
            return None
        kspace = self._assembled(chosen)
        refuse_not_finite(self.path, kspace, index)
        return kspace

    def _assembled(self, chosen: np.ndarray) -> np.ndarray:
        """Return the mean of acquisitions, each at its place, complex64 (coil, readout, phase)."""
        readout, phase = self.header.matrix
        kspace = np.zeros((self.header.coils, readout, phase), np.complex64)
        counts = np.zeros((readout, phase), np.float32)
        for number, target, row in self.rows_of(chosen):
            line = self._lines.line[number]
            kspace[:, target, line] += row
            counts[target, line] += 1
        kspace /= np.maximum(counts, 1)
        return np.conj(kspace, out=kspace) if self._siemens else kspace

    def rows_of(self, chosen: np.ndarray) -> Iterator[tuple[int, slice, np.ndarray]]:
        """Yield acquisitions, numbers rising: the number, its place along the readout, its samples."""
        for block in np.array_split(chosen, -(-len(chosen) // BLOCK)):
            for number, row in zip(block, self._rows(block, self.header.coils), strict=True):
                source, target = self._lines.span(number, self.header.matrix[0])
                yield int(number), target, (row[:, ::-1] if self._lines.reverse[number] else row)[:, source]

    def acquired(self, index: int) -> np.ndarray:
        mask = np.zeros(self.header.matrix, dtype=bool)
        for number in self._lines.of_slice(self._index(index)):
            mask[self._lines.span(number, self.header.matrix[0])[1], self._lines.line[number]] = True
        return mask

    def noise_ratio(self, index: int) -> float:
        return float(np.sqrt(self._lines.averages / self._lines.averages_of(self._index(index))))

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
        noise = np.conj(noise) if self._siemens else noise
        if not np.isfinite(noise).all():
            raise InputError(f"{self.path}: its noise scan holds NaN or infinity; repair the file")
        return noise


def _header(
    kind: str, lines: Lines, encoding: Encoding, frames: Frames | None, notes: tuple[str, ...]
) -> Header:
    encoded, recon = encoding.encoded, encoding.recon
    readout, phase = encoded.matrix[:2]
    ratio = [r / e for r, e in zip(recon.matrix, encoded.matrix, strict=True)]
    pixel = slice_mm = None
    if encoded.fov and recon.fov:
        # By field of view: a reconSpace matrix larger than that is interpolation, which is not done here.
        ratio = [min(r / e, 1.0) for r, e in zip(recon.fov, encoded.fov, strict=True)]
        pixel = (encoded.fov[0] / readout, encoded.fov[1] / phase)
        slice_mm = recon.fov[2] if lines.partitions == 1 else encoded.fov[2] / lines.partitions
    crop = tuple(max(1, min(n, round(n * r))) for n, r in zip((readout, phase), ratio, strict=False))
    first, last = int(lines.line[lines.order].min()), int(lines.line[lines.order].max())
    if encoding.step1 is not None:
        first = phase // 2 - encoding.step1.center + encoding.step1.minimum
        last = phase // 2 - encoding.step1.center + encoding.step1.maximum
    geometry, said = _geometry(lines, encoding)
    contrast = dict(encoding.contrast)
    several = {label["contrast"] for label in lines.labels}
    own = {name for label in frames.labels for name in label} if frames else set()
    for name in own | ({"TE_ms"} if len(several) > 1 else set()):
        contrast.pop(name, None)  # the header's is that of one frame alone
    return Header(
        format=kind,
        slices=len(lines.labels),
        coils=lines.coils,
        matrix=(readout, phase),
        unoversampled=crop[0],
        crop=crop,  # type: ignore[arg-type]
        pixel_mm=pixel,
        slice_mm=slice_mm,
        geometry=geometry,
        padding=(max(first, 0), min(last + 1, phase)),
        contrast=contrast,
        notes=notes + said,
        frames=frames,
    )


def _geometry(lines: Lines, encoding: Encoding) -> tuple[Geometry | None, tuple[str, ...]]:
    """Return where slices lie, in mm, and what there is to say of it."""
    geometry, said = geometry_of(lines)
    said += (SIEMENS,) if encoding.siemens else ()
    if geometry is None:
        return None, said
    if not encoding.metres or not geometry.positions.any():
        return geometry, said
    # Lengths are in metres; positions may be too, which the distance of slices tells.
    thickness = encoding.recon.fov[2] if encoding.recon.fov else 0.0  # of a 3-D scan that of the slab
    steps = np.linalg.norm(np.diff(geometry.positions, axis=0), axis=1)
    step = float(np.median(steps)) if len(steps) else 0.0
    if thickness and 0.3 * thickness <= step <= 10 * thickness:
        return geometry, said
    if thickness and 0.3 * thickness <= 1e3 * step <= 10 * thickness:
        return replace(geometry, positions=1e3 * geometry.positions), said
    unknown = "whether slice positions are in mm or in metres cannot be told: the geometry is unknown"
    return None, (*said, unknown)
