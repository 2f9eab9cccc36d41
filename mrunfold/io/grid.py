"""Readout oversampling and cropping: the two named steps between stored k-space and the final image."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import scipy.fft

from mrunfold.errors import InputError
from mrunfold.io.scan import Header

__all__ = ["crop_image", "of_readout", "remove_oversampling", "without_oversampling"]

log = logging.getLogger(__name__)


def remove_oversampling(kspace: np.ndarray, header: Header) -> np.ndarray:
    """Return k-space (…, readout, phase) with `header.unoversampled` readout samples, complex64.

    A centred unitary inverse FFT along the readout, a centred crop, and the FFT back: what lies outside the
    field of view along the readout is gone, the noise keeps its standard deviation per sample.  The readout
    must be complete (`header.matrix`), for a partial echo is no product of image and uniform sampling; its
    missing samples are taken as the zeros they are stored as.
    """
    stored, wanted = header.matrix[0], header.unoversampled
    if kspace.ndim < 2 or kspace.shape[-2:] != header.matrix:
        raise InputError(
            f"remove_oversampling expects k-space (…, {stored}, {header.matrix[1]}) as its header says, "
            f"got {kspace.shape}; it is done once only"
        )
    if wanted == stored:
        return kspace
    log.info("readout oversampling removed: %d -> %d samples", stored, wanted)
    image = scipy.fft.ifft(scipy.fft.ifftshift(kspace, axes=-2), axis=-2, norm="ortho")
    image = _centre(scipy.fft.fftshift(image, axes=-2), -2, wanted)  # (…, wanted, phase)
    kspace = scipy.fft.fft(scipy.fft.ifftshift(image, axes=-2), axis=-2, norm="ortho")
    return scipy.fft.fftshift(kspace, axes=-2).astype(np.complex64, copy=False)


def without_oversampling(kspace: np.ndarray, header: Header) -> tuple[np.ndarray, Header]:
    """Return k-space as `remove_oversampling` does, and the header of k-space of this matrix."""
    return remove_oversampling(kspace, header), of_readout(header, header.unoversampled)


def of_readout(header: Header, rows: int) -> Header:
    """Return the header of k-space of `rows` readout samples, which are its field of view."""
    shape = (rows, header.matrix[1])
    crop = (rows, min(header.crop[1], shape[1]))
    return replace(header, matrix=shape, unoversampled=rows, crop=crop, region=None)


def crop_image(image: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    """Return the centre (…, *crop) of an image (…, readout, phase); pixel N//2 goes to pixel crop//2."""
    if image.ndim < 2 or image.shape[-2] < crop[0] or image.shape[-1] < crop[1] or min(crop) < 1:
        raise InputError(f"cannot crop an image of {image.shape} to {tuple(crop)}; the crop must fit inside")
    return _centre(_centre(image, -2, crop[0]), -1, crop[1])


def _centre(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    start = array.shape[axis] // 2 - size // 2
    index = [slice(None)] * array.ndim
    index[axis] = slice(start, start + size)
    return array[tuple(index)]
