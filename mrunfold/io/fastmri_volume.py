"""3-D scans in fastMRI's layout: a second phase encoding as the last axis of `kspace`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.array_volume import StoredVolume
from mrunfold.io.encoding import Encoding, Limits
from mrunfold.io.hdf5 import check_size, reading
from mrunfold.io.scan import Header

__all__ = ["FastmriVolume", "is_volume"]


def is_volume(path: Path, shape: tuple[int, ...], encoding: Encoding | None) -> bool:
    """Return whether k-space of `shape` is (coil, readout, phase, partition), or volumes of that.

    It is where the header's encoded matrix has partitions and is that of the last three axes.  Raises
    InputError where the same sizes could be those of 2-D slices, and where the last axis alone has as many.
    """
    if encoding is None or encoding.encoded.matrix[2] == 1 or len(shape) not in (4, 5):
        return False
    size = encoding.encoded.matrix
    whole, slices = shape[-3:] == size, shape[-2:] == size[:2]
    if whole and not slices:
        return True
    if not whole and (slices or shape[-1] != size[2]):
        return False
    what = "×".join(map(str, size))
    raise InputError(
        f"{path}: the header's encoded matrix is 3-D, {what}, and 'kspace' {shape} may be slices or "
        f"partitions; write (coil, readout, phase, partition) of {what}, or a matrix of z = 1 for slices"
    )


class FastmriVolume(StoredVolume):
    """`kspace` (coil, readout, phase, partition), or several volumes of it; where they lie is not known.

    mask: bool (phase, partition), what of it counts, None for all; close: closes the file.
    """

    def __init__(
        self,
        path: Path,
        data: h5py.Dataset,
        encoding: Encoding,
        simulated: bool,
        mask: np.ndarray | None,
        close: Callable[[], None],
    ) -> None:
        check_size(path, data, data.shape[0])
        self._data, self._mask, self._close = data, mask, close
        volumes = data.shape[0] if data.ndim == 5 else 1
        coils, readout, phase, partitions = data.shape[-4:]
        encoded, recon = encoding.encoded, encoding.recon
        ratio = [r / e for r, e in zip(recon.matrix, encoded.matrix, strict=True)]
        pixel = slice_mm = None
        if encoded.fov and recon.fov:
            ratio = [r / e for r, e in zip(recon.fov, encoded.fov, strict=True)]
            pixel = (encoded.fov[0] / readout, encoded.fov[1] / phase)
            slice_mm = encoded.fov[2] / partitions
        image = [max(1, min(n, round(n * r))) for n, r in zip(encoded.matrix, ratio, strict=True)]
        header = Header(
            format="fastmri",
            slices=volumes * image[2],
            coils=coils,
            matrix=(readout, phase),
            unoversampled=image[0],
            crop=(image[0], image[1]),
            pixel_mm=pixel,
            slice_mm=slice_mm,
            simulated=simulated,
            contrast=encoding.contrast,
            notes=encoding.notes,
        )
        limits = _limits(encoding.step1, phase), _limits(encoding.step2, partitions)
        super().__init__(path, header, volumes, partitions, limits)

    def _part(self, volume: int, coil: int, phases: slice) -> np.ndarray:
        which = (coil,) if self._data.ndim == 4 else (volume, coil)
        with reading(self.path, f"coil {coil} of 'kspace'"):
            kspace = np.asarray(self._data[(*which, slice(None), phases)])
        return kspace if self._mask is None else np.where(self._mask[phases], kspace, np.complex64(0))

    def close(self) -> None:
        self._close()


def _limits(limits: Limits | None, size: int) -> tuple[int, int]:
    """Return the first sample that a complete scan has, and one after the last."""
    if limits is None:
        return 0, size
    first = max(size // 2 - limits.center + limits.minimum, 0)
    last = min(size // 2 - limits.center + limits.maximum + 1, size)
    return (first, last) if first < last else (0, size)
