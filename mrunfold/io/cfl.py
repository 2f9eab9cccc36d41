"""BART's .cfl/.hdr pairs: complex64, first dimension fastest, see `cfl_dims`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.cfl_dims import AVERAGE, COIL, DIMENSIONS, READ, SLICE, averages_said, frames_in, run_of
from mrunfold.io.cfl_volume import CflVolume
from mrunfold.io.hdf5 import MAX_SLICE_BYTES
from mrunfold.io.scan import Header, Scan, refuse_not_finite, sampled

__all__ = ["CflScan", "read_cfl", "write_cfl"]

MAX_HEADER_BYTES = 1 << 20


class CflScan(Scan):
    """A BART file of k-space: two or all of dimensions 0–2, coils in 3, slices in 13.

    Echoes (5) and time (10, 11) are frames, averages (14) are averaged where they have samples; all other
    dimensions are 1.
    Two in 0 and 1 are readout and phase; in 1 and 2, as BART has a slice of a 3-D scan, both are phase
    encodings and the first takes the place of the readout; all three are a 3-D scan (`volume`).  The header
    says nothing of field of view, oversampling or padding.  Raises InputError for other dimensions and for a
    size that is not the file's.
    """

    def __init__(self, path: Path) -> None:
        """Open the pair whose either file, or whose common stem, is `path`."""
        path = path if path.suffix in (".cfl", ".hdr") else path.with_name(path.name + ".cfl")
        self.path = path.with_suffix(".cfl")
        dims = _dimensions(path.with_suffix(".hdr"))
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file beside {path.with_suffix('.hdr').name}")
        expected, size = 8 * math.prod(dims), self.path.stat().st_size
        if size != expected:
            raise InputError(f"{self.path}: has {size} bytes where its .hdr says {expected}; it is truncated")
        coils = dims[COIL]
        if all(n > 1 for n in dims[:3]):
            _refuse_others(self.path, dims)
            self.volume = CflVolume(self.path, dims)
            self.header = self.volume.header
            return
        self._shape = _plane(self.path, dims)  # (readout, phase)
        if (one := 8 * coils * math.prod(self._shape)) > MAX_SLICE_BYTES:
            raise InputError(f"{self.path}: one slice needs {one / 1e9:.3g} GB; split it")
        self._dims = dims
        self._seen: tuple[int, np.ndarray] | None = None  # the slice read last, and where it holds samples
        count, frames = frames_in(dims, dims[SLICE])
        self.header = Header(
            format="cfl",
            slices=dims[SLICE] * count,
            coils=coils,
            matrix=self._shape,
            unoversampled=self._shape[0],
            crop=self._shape,
            frames=frames,
            notes=averages_said(dims),
        )

    def kspace(self, index: int) -> np.ndarray:
        index = self._index(index)
        averages = self._dims[AVERAGE]
        found = self._average(index, 0)
        if averages > 1:
            count = (found != 0).any(axis=0).astype(np.float32)
            for number in range(1, averages):
                one = self._average(index, number)
                found += one
                count += (one != 0).any(axis=0)
            found /= np.maximum(count, 1)
        refuse_not_finite(self.path, found, index)
        self._seen = index, sampled(found)
        return found

    def _average(self, index: int, number: int) -> np.ndarray:
        """Return one average of an image, complex64 (coil, readout, phase)."""
        frame, place = divmod(index, self._dims[SLICE])
        run = run_of(self._dims, frame, place, number)
        count = math.prod(self._dims[: COIL + 1])
        data = np.fromfile(self.path, dtype="<c8", count=count, offset=8 * count * run)
        if data.size != count:
            raise InputError(f"{self.path}: ends within slice {index}; it is truncated")
        coil, (readout, phase) = self.header.coils, self._shape
        kspace = data.reshape(coil, phase, readout).transpose(0, 2, 1)  # column-major: readout is fastest
        return np.ascontiguousarray(kspace, dtype=np.complex64)

    def acquired(self, index: int) -> np.ndarray:
        index = self._index(index)
        if self._seen is None or self._seen[0] != index:
            return sampled(self.kspace(index))
        return self._seen[1].copy()

    def close(self) -> None:
        """Nothing is kept open."""


def read_cfl(path: Path) -> np.ndarray:
    """Return a .cfl/.hdr pair of any dimensions as complex64, trailing dimensions of 1 left out.

    path: either file or their common stem.  Raises InputError where the two disagree.
    """
    stem = path.with_suffix("") if path.suffix in (".cfl", ".hdr") else path
    dims = _dimensions(stem.with_name(stem.name + ".hdr"))
    file = stem.with_name(stem.name + ".cfl")
    if not file.is_file() or file.stat().st_size != 8 * math.prod(dims):
        raise InputError(f"{file}: is not of the size that its .hdr says; it is missing or truncated")
    count = max((i + 1 for i, n in enumerate(dims) if n != 1), default=1)
    return np.fromfile(file, dtype="<c8").reshape(dims[:count], order="F")


def write_cfl(stem: Path, array: np.ndarray) -> None:
    """Write an array as the pair `stem`.cfl and `stem`.hdr, complex64, whole or not at all."""
    from mrunfold.io.atomic import atomic_path

    dims = [*array.shape, *[1] * (DIMENSIONS - array.ndim)]
    with atomic_path(stem.with_name(stem.name + ".cfl")) as part:
        np.asarray(array, dtype="<c8").ravel(order="F").tofile(part)
    with atomic_path(stem.with_name(stem.name + ".hdr")) as part:
        part.write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n", encoding="ascii")


def _dimensions(hdr: Path) -> tuple[int, ...]:
    """Return the sixteen dimensions that a .hdr file declares."""
    if not hdr.is_file():
        raise InputError(f"{hdr}: no such file; a BART file is a pair of .cfl and .hdr")
    if hdr.stat().st_size > MAX_HEADER_BYTES:
        raise InputError(f"{hdr}: too long for a BART header")
    lines = [line.strip() for line in hdr.read_text(encoding="utf-8", errors="replace").splitlines()]
    words: list[str] = []
    if "# Dimensions" in lines:
        words = next((line.split() for line in lines[lines.index("# Dimensions") + 1 :] if line), [])
    good = 1 <= len(words) <= 32 and all(
        word.isascii() and word.isdigit() and len(word) < 10 for word in words
    )
    dims = [int(word) for word in words] if good else [0]
    if min(dims) < 1:
        raise InputError(f"{hdr}: no line of positive dimensions after '# Dimensions'; write it with BART")
    if any(n > 1 for n in dims[DIMENSIONS:]):
        raise InputError(f"{hdr}: more than {DIMENSIONS} dimensions; BART has {DIMENSIONS}")
    return tuple((dims + [1] * DIMENSIONS)[:DIMENSIONS])


def _plane(path: Path, dims: tuple[int, ...]) -> tuple[int, int]:
    """Return (readout, phase), or raise InputError that says which dimension is in the way."""
    _refuse_others(path, dims)
    encoded = [n for n in dims[:3] if n > 1]
    if len(encoded) == 2:
        return encoded[0], encoded[1]
    raise InputError(f"{path}: dimensions {dims[:4]} are no 2-D k-space (readout, phase, 1, coil)")


def _refuse_others(path: Path, dims: tuple[int, ...]) -> None:
    others = [i for i in range(DIMENSIONS) if dims[i] > 1 and i not in READ]
    if others:
        raise InputError(
            f"{path}: BART dimension {others[0]} is {dims[others[0]]}; only readout, phase, coil (3), echo "
            "(5), time (10, 11), slice (13) and average (14) are read, take one with "
            f"`bart slice {others[0]} 0 in out`"
        )
