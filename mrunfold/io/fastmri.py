"""fastMRI's HDF5 files: knee, brain and whatever follows their layout."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.attributes import read_attribute
from mrunfold.io.encoding import MAX_XML_BYTES, Encoding, parse_encoding
from mrunfold.io.fastmri_axes import (
    advice,
    average_axis,
    check_axes,
    coils_last,
    combined,
    lines_along_readout,
    missing_ends,
)
from mrunfold.io.fastmri_volume import FastmriVolume, is_volume
from mrunfold.io.grid import crop_image
from mrunfold.io.hdf5 import check_size, find, open_h5, reading
from mrunfold.io.heap import read_text
from mrunfold.io.scan import Header, Scan, refuse_not_finite, sampled

__all__ = ["FastmriScan"]

log = logging.getLogger(__name__)

# Any other text in the attribute may name a person or a place.
ACQUISITIONS = {
    "CORPD_FBK", "CORPDFS_FBK", "AXT1", "AXT1PRE", "AXT1POST", "AXT2", "AXFLAIR", "AXT2TSE", "AXDIFF",
}  # fmt: skip
NOTHING = 1e-6  # of the largest sample: less is no measured sample
REFERENCES = ("reconstruction_rss", "reconstruction_esc")


class FastmriScan(Scan):
    """A fastMRI file: `kspace` (slice, coil, readout, phase), or (slice, readout, phase) for a single coil.

    Averages before or behind the slices, as in fastMRI's prostate files, are averaged, and lines that such
    files leave out at the ends of k-space are zero.  Where the
    header's encoded matrix has partitions, `kspace` (coil, readout, phase, partition) is a 3-D scan.  Raises
    InputError for a file whose k-space is not complex, has another number or order of axes, lies outside the
    file or cannot have the size that it declares, and for EPI.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, np.ndarray] | None = None  # the slice read last, and where it holds samples
        self._file = open_h5(path)
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        self._kspace = self._dataset("kspace")
        shape, kind = self._kspace.shape, self._kspace.dtype.kind
        if kind != "c" or len(shape) not in (3, 4, 5) or 0 in shape:
            raise InputError(
                f"{self.path}: 'kspace' must be complex (slice, coil, readout, phase) or "
                f"(slice, readout, phase), got {self._kspace.dtype} {shape}{advice(self._kspace)}"
            )
        encoding = self._read_encoding()
        if encoding is not None and encoding.ramps:
            raise InputError(
                f"{self.path}: an EPI scan, as fastMRI's diffusion files are, with samples on ramps of its "
                "gradients: put them on the grid first, each weighting in a file of its own"
            )
        if encoding is not None and is_volume(self.path, shape, encoding):
            simulated = _true(read_attribute(self.path, self._file, "simulated"))
            parts = encoding, simulated, self._read_mask()
            self.volume = FastmriVolume(self.path, self._kspace, *parts, self._file.close)
            self.header = self.volume.header
            return
        self._reference = next((d for name in REFERENCES if (d := self._optional(name)) is not None), None)
        if self._reference is not None:
            check_size(self.path, self._reference, self._reference.shape[0] if self._reference.shape else 1)
        images: tuple[int, ...] = () if self._reference is None else self._reference.shape
        slices = images[0] if len(images) == 3 else encoding.slices if encoding else None
        self._averages = average_axis(
            self.path, shape, slices, encoding.encoded.matrix[0] if encoding else None
        )
        if self._averages is not None:
            shape = tuple(n for axis, n in enumerate(shape) if axis != self._averages)
            self._ends = missing_ends(shape[-1], encoding)
            shape = (*shape[:-1], shape[-1] + sum(self._ends))
        check_size(self.path, self._kspace, shape[0])
        check_axes(self.path, shape, encoding)
        if self._reference is not None and (len(images) != 3 or images[0] != shape[0]):
            raise InputError(
                f"{self.path}: '{self._reference.name[1:]}' must be (slice, y, x) with {shape[0]} slices, "
                f"got {images}"
            )
        attributes = {n: read_attribute(self.path, self._file, n) for n in ("acquisition", "simulated")}
        self._mask = self._read_mask()
        header = _header(self.path, shape, encoding, attributes, self._reference)
        self.header = self._looked_at(header)

    def _optional(self, name: str) -> h5py.Dataset | None:
        found = find(self.path, self._file, name)
        return found if isinstance(found, h5py.Dataset) else None

    def _dataset(self, name: str) -> h5py.Dataset:
        found = self._optional(name)
        if found is None:
            raise InputError(f"{self.path}: no dataset '{name}'")
        return found

    def _read_encoding(self) -> Encoding | None:
        dataset = self._optional("ismrmrd_header")
        if dataset is None:
            log.info("%s has no ismrmrd_header: sizes are taken from its images", self.path.name)
            return None
        return parse_encoding(self.path, read_text(self.path, dataset, MAX_XML_BYTES))

    def _read_mask(self) -> np.ndarray | None:
        """Return what a test file says it kept, bool (readout, phase) or (1, phase)."""
        dataset = self._optional("mask")
        if dataset is None:
            return None
        readout, phase = self._kspace.shape[-2:]
        # As fastMRI's code has it, its axes may be those of k-space: (1, 1, phase, 1) with real parts last.
        shape = tuple(n for n in dataset.shape if n > 1)
        if dataset.dtype.kind not in "biuf" or shape not in {(phase,), (readout, phase)}:
            raise InputError(
                f"{self.path}: 'mask' must have k-space's {phase} phase lines, got {dataset.dtype} "
                f"{dataset.shape}; write it as ({phase},) or ({readout}, {phase}) of zeros and ones, or "
                "delete it and all samples that are not zero are used"
            )
        check_size(self.path, dataset)
        with reading(self.path, "'mask'"):
            return np.atleast_2d(dataset[()].reshape(shape) != 0)

    def kspace(self, index: int) -> np.ndarray:
        index = self._index(index)
        kspace = self._stored(index)
        keep = self._kept()
        kspace = kspace if keep is None else np.where(keep, kspace, np.complex64(0))
        if self._mask is None:
            self._seen = index, sampled(kspace)
        return kspace

    def _stored(self, index: int) -> np.ndarray:
        """Return all that the file holds of a slice, complex64 (coil, readout, phase)."""
        with reading(self.path, f"slice {index} of 'kspace'"):
            stored = self._kspace[:, index] if self._averages == 0 else self._kspace[index]
        kspace = np.asarray(stored, dtype=np.complex64)
        kspace = kspace if kspace.ndim > 2 else kspace[None]
        if self._averages is not None:
            kspace = np.pad(combined(kspace), ((0, 0), (0, 0), self._ends))
        refuse_not_finite(self.path, kspace, index)
        return kspace

    def _looked_at(self, header: Header) -> Header:
        """Return the header with notes on what the middle slice holds, and without padding that is none."""
        self.header = header
        notes = header.notes
        if self._averages is not None:
            count = self._kspace.shape[self._averages]
            notes += (f"{count} averages are averaged, each where it has samples",)
            if any(self._ends):
                notes += (f"{sum(self._ends)} lines at the ends of k-space are not in the file: zero filled",)
        try:
            kspace = self._stored(header.slices // 2)
        except InputError:
            return replace(header, notes=notes)  # that slice is refused when it is asked for
        if coils_last(kspace):
            raise InputError(
                f"{self.path}: the energy of 'kspace' {self._kspace.shape} lies about the middle of its "
                "second axis and is spread over its last: coils are last; write k.transpose(0, 3, 1, 2), "
                "(slice, coil, readout, phase)"
            )
        filled = np.abs(kspace).max(axis=0) > NOTHING * np.abs(kspace).max(initial=0)
        if header.padding is not None and filled[:, _outside(header.padding, filled.shape[1])].any():
            left, right = header.padding
            notes += (
                f"the header calls lines outside of {left} to {right - 1} zero filling and they hold "
                "samples: all lines are used",
            )
            header = replace(header, padding=None)
        if self._mask is not None and filled.any() and not (filled & self._mask).any():
            raise InputError(
                f"{self.path}: the file's own 'mask' keeps none of the {int(filled.sum())} samples of slice "
                f"{header.slices // 2}; if it says what to leave out, write its opposite"
            )
        if self._mask is not None and (left_out := int((filled & ~self._mask).sum())):
            notes += (
                f"k-space holds {left_out} of {int(filled.sum())} samples outside of the file's own mask: "
                "they are left out; delete the dataset 'mask' to use them",
            )
        elif lines_along_readout(filled):
            notes += (
                "whole lines are missing along the readout axis: if that is the phase encoding, write "
                "k.swapaxes(-1, -2)",
            )
        return replace(header, notes=notes)

    def acquired(self, index: int) -> np.ndarray:
        keep = self._kept() if self._mask is not None else None
        if keep is not None:
            return np.broadcast_to(keep, self.header.matrix).copy()
        index = self._index(index)
        if self._seen is None or self._seen[0] != index:
            return sampled(self.kspace(index))
        return self._seen[1].copy()

    def _kept(self) -> np.ndarray | None:
        """Return where the file can hold samples, bool that broadcasts to k-space; None: everywhere."""
        if self.header.padding is None and self._mask is None:
            return None
        keep = np.ones((1, self.header.matrix[1]), dtype=bool) if self._mask is None else self._mask.copy()
        if self.header.padding is not None:
            left, right = self.header.padding
            keep[:, :left] = False
            keep[:, right:] = False
        return keep

    def reference(self, index: int) -> np.ndarray | None:
        if self._reference is None:
            return None
        index = self._index(index)
        with reading(self.path, f"slice {index} of '{self._reference.name[1:]}'"):
            image = np.asarray(self._reference[index])
        if image.dtype.kind != "f" or not np.isfinite(image).all():
            raise InputError(f"{self.path}: the file's own image of slice {index} is not finite real numbers")
        # Where the image is wider than k-space, fastMRI crops both to a square of the width.
        return crop_image(image.astype(np.float32), self.header.crop)

    def close(self) -> None:
        self._file.close()


def _outside(padding: tuple[int, int], lines: int) -> np.ndarray:
    """Return which lines are zero filling, bool (phase,)."""
    return (np.arange(lines) < padding[0]) | (np.arange(lines) >= padding[1])


def _header(
    path: Path,
    shape: tuple[int, ...],
    encoding: Encoding | None,
    attributes: dict,
    reference: h5py.Dataset | None,
) -> Header:
    readout, phase = shape[-2:]
    crop = _crop(readout, phase, encoding, reference)
    unoversampled, pixel, slice_mm, padding = readout, None, None, None
    if encoding is not None:
        encoded, recon = encoding.encoded, encoding.recon
        ratio = recon.matrix[0] / encoded.matrix[0]
        if encoded.fov and recon.fov:
            ratio = recon.fov[0] / encoded.fov[0]
            # The encoded field of view over the samples: what an FFT of this k-space has, zero filled or not.
            pixel = (encoded.fov[0] / readout, encoded.fov[1] / phase)
            slice_mm = recon.fov[2]
        # Some files' images are larger than the field of view of reconSpace: never less than what is cropped.
        unoversampled = min(readout, max(round(readout * ratio), crop[0]))
        padding = _padding(path, encoding, phase)
    elif reference is not None and readout >= 2 * crop[0]:
        unoversampled = readout // 2
    acquisition = attributes.get("acquisition")
    acquisition = acquisition.decode("ascii", "replace") if isinstance(acquisition, bytes) else acquisition
    return Header(
        format="fastmri",
        slices=shape[0],
        coils=shape[1] if len(shape) == 4 else 1,
        matrix=(readout, phase),
        unoversampled=unoversampled,
        crop=crop,
        acquisition=acquisition if isinstance(acquisition, str) and acquisition in ACQUISITIONS else None,
        pixel_mm=pixel,
        slice_mm=slice_mm,
        padding=padding,
        simulated=_true(attributes.get("simulated")),
        contrast=encoding.contrast if encoding else {},
        notes=encoding.notes if encoding else (),
    )


def _crop(
    readout: int, phase: int, encoding: Encoding | None, reference: h5py.Dataset | None
) -> tuple[int, int]:
    """Return the final image's size: reconSpace, else the file's own images', else all of k-space."""
    if encoding is not None:
        size = encoding.recon.matrix[:2]
    elif reference is not None:
        size = reference.shape[1:]
    else:
        size = (readout, phase)
    if size[1] > phase:  # as fastMRI does: AXFLAIR files 203 pixels wide
        size = (phase, phase)
    return min(size[0], readout), size[1]


def _padding(path: Path, encoding: Encoding, phase: int) -> tuple[int, int] | None:
    """Return the first acquired phase line and the one after the last, None where the header cannot say."""
    if encoding.step1 is None:
        return None
    left = encoding.encoded.matrix[1] // 2 - encoding.step1.center
    right = left + encoding.step1.maximum + 1
    if not 0 <= left < min(right, phase):
        log.warning("%s: its encoding limits make no sense, zero padding is taken as unknown", path.name)
        return None
    return left, min(right, phase)


def _true(value: object) -> bool:
    number = np.asarray(value if value is not None else False)
    return number.size == 1 and number.dtype.kind in "biuf" and math.isfinite(number.item()) and bool(number)
