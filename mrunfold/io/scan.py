"""What a raw-data file holds, whatever its format: a Header, and k-space one slice at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.frames import Frames

if TYPE_CHECKING:
    from mrunfold.io.hybrid import HybridScan
    from mrunfold.io.volumes import VolumeSource

__all__ = ["Geometry", "Grid", "Header", "Scan", "Split", "refuse_not_finite", "right_angles", "sampled"]

Split = Literal["readout", "partition"]

# Directions may be so far from right angles and length 1: headers round, some to two digits.
FRAME_TOLERANCE = 1e-2


def right_angles(read: np.ndarray, phase: np.ndarray, normal: np.ndarray) -> np.ndarray | None:
    """Return the three directions (axis, 3) as the nearest ones at right angles and of length 1.

    None where they are further than FRAME_TOLERANCE from that, zero or not finite.  The nearest orthogonal
    matrix in the Frobenius norm is U Vᵀ of the singular value decomposition.
    """
    frame = np.stack([np.asarray(axis, float) for axis in (read, phase, normal)])
    if not np.isfinite(frame).all() or np.abs(frame @ frame.T - np.eye(3)).max() > FRAME_TOLERANCE:
        return None
    if np.abs(frame @ frame.T - np.eye(3)).max() < 1e-12:
        return frame
    left, _, right = np.linalg.svd(frame)
    return left @ right


@dataclass(frozen=True)
class Geometry:
    """Where the slices lie: patient coordinates LPS (left, posterior, superior) in mm.

    positions: centre of each slice (slice, 3); read, phase, normal: unit vectors (3,) along the image's
    rows (axis -2), columns (axis -1) and from slice to slice, or (slice, 3) where slices have several
    orientations, as those of a localizer.  Pixel (r, c) of an N×M image is centred at
    position + read·d_r·(r − N//2) + phase·d_c·(c − M//2), as a centred FFT has it.
    """

    positions: np.ndarray
    read: np.ndarray
    phase: np.ndarray
    normal: np.ndarray

    def take(self, indices: Sequence[int]) -> Geometry:
        """Return the geometry of some slices, with one orientation where they have the same."""
        chosen = list(indices)
        axes = [np.asarray(axis, float) for axis in (self.read, self.phase, self.normal)]
        axes = [axis if axis.ndim == 1 else axis[chosen] for axis in axes]
        if chosen and all(axis.ndim == 1 or (axis == axis[:1]).all() for axis in axes):
            axes = [axis if axis.ndim == 1 else axis[0] for axis in axes]
        return Geometry(np.asarray(self.positions, float)[chosen], *axes)


@dataclass(frozen=True)
class Grid:
    """The 3-D grid that slices are of.

    size: (readout, phase, partition) without readout oversampling; stored: readout samples with it; along:
    the axis that was transformed, of which each slice is a position; kept: which positions are slices.
    """

    size: tuple[int, int, int]
    stored: int
    along: Split
    kept: slice


@dataclass(frozen=True)
class Header:
    """What the file says of the acquisition; nothing in it names a patient, a place or a device.

    format: fastmri, mrd, cfl or another reader's name; matrix: k-space (readout, phase) as stored, readout
    oversampling included; unoversampled: readout samples once oversampling is removed; crop: (readout, phase)
    of the final image; pixel_mm: (readout, phase) of the final image, slice_mm: thickness, None where the
    file does not say; geometry: None where unknown.
    padding: (left, right) phase lines outside of which k-space is zero filling, None where unknown.
    contrast: allow-listed scanner settings (TR_ms, TE_ms, flip_deg, field_T, body_part, patient_position).
    notes: what a reader of the images must know of how the file was read, a sentence each.
    frames: which frame (echo, repetition, …) and place each slice is of, where the scan has frames: then
    `slices` counts the images of all of them, one frame after another.
    trajectory: what kind of a trajectory samples lie along, None on the grid; matrix is then (readout,
    interleaf) as stored, and crop the matrix of the image.
    region: bool (readout, phase), the samples that a complete scan of this kind has, where `padding` cannot
    say it (partial matrices of two phase encodings, corners that are left out); None: all inside the padding.
    output: header of the images that are written, where they are not the slices themselves, as of a 3-D scan
    that is split along its readout; None: they are.
    grid: of a 3-D scan that the slices are of, None for 2-D ones.
    """

    format: str
    slices: int
    coils: int
    matrix: tuple[int, int]
    unoversampled: int
    crop: tuple[int, int]
    acquisition: str | None = None
    pixel_mm: tuple[float, float] | None = None
    slice_mm: float | None = None
    geometry: Geometry | None = None
    padding: tuple[int, int] | None = None
    simulated: bool = False
    contrast: dict[str, float | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    frames: Frames | None = None
    trajectory: str | None = None
    region: np.ndarray | None = field(default=None, compare=False, repr=False)
    output: Header | None = None
    grid: Grid | None = None

    @property
    def places(self) -> int:
        """How many slices each frame has."""
        return self.slices if self.frames is None else self.frames.places

    @property
    def images(self) -> Header:
        """The header of the images that are written: their number, size and place."""
        return self if self.output is None else self.output

    def complete(self, shape: tuple[int, int]) -> np.ndarray:
        """Return which samples of k-space `shape` (readout, phase) a complete scan has, bool."""
        if self.region is not None:
            return self.region
        inside = np.ones(shape, dtype=bool)
        if self.padding is not None:
            left, right = self.padding
            inside[:, : max(left, 0)] = inside[:, right:] = False
        return inside


class Scan(ABC):
    """An open raw-data file; a context manager that reads one slice at a time.

    k-space has the axes (coil, readout, phase) in every format: axis -2 is the readout, axis -1 the
    phase-encoding direction, both with the centre at N//2.
    """

    path: Path
    header: Header
    volume: VolumeSource | None = None  # of a 3-D scan: `open_scan` makes slices of it, nothing here is read
    hybrid: HybridScan | None = None  # the scan itself where its slices are of 3-D volumes

    @classmethod
    def recognises(cls, path: Path, start: bytes) -> bool:
        """Whether a file is of this reader, `start` its first 4096 bytes; False: only where it is named."""
        return False

    @abstractmethod
    def kspace(self, index: int) -> np.ndarray:
        """Return one slice, complex64 (coil, readout, phase), zero where nothing was acquired."""

    @abstractmethod
    def acquired(self, index: int) -> np.ndarray:
        """Return what the file acquired of that slice, bool (readout, phase)."""

    def noise(self) -> np.ndarray | None:
        """Return the noise scan, complex64 (coil, samples), or None where the file has none."""
        return None

    def noise_ratio(self, index: int) -> float:
        """Return the noise of a slice over that of `noise()`: they may have different numbers of averages."""
        self._index(index)
        return 1.0

    def calibration(self, index: int) -> np.ndarray | None:
        """Return k-space that only the coil maps are made of, complex64 (coil, readout, phase), or None.

        It is on the grid of `kspace`, zero where nothing was acquired, and may be of another contrast.
        """
        return None

    def trajectory(self, index: int) -> np.ndarray | None:
        """Return where samples lie, (readout, interleaf, 2) in cycles per field of view, None on the grid."""
        return None

    def ready(self, index: int, progress: Callable[[float], None] = lambda fraction: None) -> None:
        """Do what must be done before slice `index` can be read; progress: called with the fraction done."""
        return None

    def require(self, indices: Iterable[int]) -> None:
        """Raise InputError, before any work, where one of these slices cannot be reconstructed."""
        for index in indices:
            self._index(index)

    def number(self, index: int) -> int:
        """Return which slice of the whole scan this is, which seeds are of: another where this is a part."""
        return self._index(index)

    def reference(self, index: int) -> np.ndarray | None:
        """Return the file's own reconstruction of that slice, float32 (crop), or None."""
        return None

    def split(self, along: Split) -> Scan:
        """Return the scan with its slices along another axis, which only 3-D scans have.

        readout: each position of the readout is a slice, with two phase encodings; partition: the second
        phase encoding, which must be complete, is transformed.
        """
        return self

    @abstractmethod
    def close(self) -> None: ...

    def __len__(self) -> int:
        return self.header.slices

    def _index(self, index: int) -> int:
        """Return a slice's number from 0, counting from the end where negative, or raise InputError."""
        if not -len(self) <= index < len(self):
            raise InputError(f"{self.path}: no slice {index}; it has {len(self)}, counted from 0")
        return index % len(self)

    def __enter__(self) -> Scan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sampled(kspace: np.ndarray) -> np.ndarray:
    """Return where a coil of complex k-space (coil, readout, phase) is not 0, bool (readout, phase)."""
    rows, columns = kspace.shape[1:]
    # Real and imaginary parts by themselves: eight times as fast as complex numbers.
    parts = np.zeros((rows, 2 * columns), bool)
    for coil in kspace:
        parts |= np.ascontiguousarray(coil).view(coil.real.dtype) != 0
    return parts[:, ::2] | parts[:, 1::2]


def refuse_not_finite(path: Path, kspace: np.ndarray, index: int) -> None:
    """Raise InputError where a slice's k-space (coil, readout, phase) holds NaN or infinity."""
    finite = np.isfinite(kspace)
    if not finite.all():
        coil = int(np.argmax(~finite.all(axis=(1, 2))))
        raise InputError(
            f"{path}: slice {index} has NaN or infinite k-space ({finite.size - int(finite.sum())} samples, "
            f"first in coil {coil}); leave the slice out or repair the file"
        )
