"""Data crimes: k-space that was processed before it was stored, on which methods look better than they are.

After Shimron, Tamir, Wang, Lustig, "Implicit data crimes", PNAS 119:e2117203119 (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft

from mrunfold.errors import InputError
from mrunfold.io.scan import Header

__all__ = ["data_crimes"]

# Single precision rounds an FFT to about 1e-7 of the largest sample; measured noise lies far above.
ZERO = 3e-7
MIN_RIM = 2  # lines; an uneven number of lines leaves one over
# Real scans reach 0.4 (96×96, high signal), magnitude images with 1 % noise 0.75, without noise 0.99.
COHERENT = 0.7
MIN_PAIRS = 64


def data_crimes(kspace: np.ndarray, acquired: np.ndarray, header: Header) -> tuple[str, ...]:
    """Return what is suspicious of one slice's k-space, in words; nothing for k-space as scanners give it.

    kspace: complex (coil, readout, phase) as stored; acquired: bool (readout, phase).  Looks for the mark
    of a simulation, for zero padding that neither `header.padding` nor undersampling explains, and for
    k-space that is the Fourier transform of a magnitude image (times smooth coil sensitivities).
    """
    if kspace.ndim != 3 or acquired.shape != kspace.shape[1:]:
        raise InputError(
            f"data_crimes expects k-space (coil, readout, phase) and what was acquired (readout, phase), "
            f"got {kspace.shape} and {acquired.shape}"
        )
    found = ["simulated data: the file says so itself"] if header.simulated else []
    magnitude = np.abs(kspace).max(axis=0)  # (readout, phase)
    peak = float(magnitude.max())
    if peak > 0:
        found += _zero_padding(magnitude > ZERO * peak, acquired, header)
        found += _computed(kspace, magnitude > ZERO * peak)
    return tuple(found)


def _zero_padding(filled: np.ndarray, acquired: np.ndarray, header: Header) -> list[str]:
    """Look for lines at both ends of an axis that are zero and that the sampling does not explain."""
    found = []
    for axis, name in ((0, "readout"), (1, "phase")):
        lines = np.asarray(filled.any(axis=1 - axis))
        first, last = int(np.argmax(lines)), len(lines) - int(np.argmax(lines[::-1]))
        rims = [first, len(lines) - last]
        if axis == 1 and header.padding is not None:
            rims = [max(first - header.padding[0], 0), max(header.padding[1] - last, 0)]
        # What was to be acquired and holds nothing is padding, one-sided too; where nothing was to be
        # acquired it must be on both sides (partial Fourier has one), wider than the undersampling's gaps.
        claimed = np.flatnonzero(acquired.any(axis=1 - axis))
        empty = max(int((claimed < first).sum()), int((claimed >= last).sum()))
        gap = int(np.diff(np.flatnonzero(lines)).max(initial=1)) - 1
        if min(rims) > max(MIN_RIM, gap) or (empty > MIN_RIM and max(rims) > MIN_RIM):
            found.append(
                f"zero-padded k-space: only {last - first} of {len(lines)} {name} lines hold data, "
                "so the image is interpolated"
            )
    return found


def _computed(kspace: np.ndarray, support: np.ndarray) -> list[str]:
    """Look for conjugate symmetry in k-space, before and after each coil's smooth phase is taken off.

    support: bool (readout, phase), where samples count: padding says nothing of where they came from.  Noise
    has no symmetry: measured samples far from the centre are incoherent with their mirror images.
    """
    if min(support.shape) < 8:
        return []  # too few samples to tell
    coils = [np.where(support, coil, np.complex64(0)) for coil in kspace]
    if _coherent(coils, lambda coil: coil):
        return ["k-space is the Fourier transform of a magnitude image: it is conjugate symmetric"]
    window = _window(support.shape)
    if _coherent(coils, lambda coil: _without_smooth_phase(coil, window)):
        return [
            "k-space seems computed from an image with smooth coil sensitivities, without a scanner's noise: "
            "it is conjugate symmetric once the smooth phase is taken off"
        ]
    return []


def _coherent(coils: Sequence[np.ndarray], seen: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Return whether the median coherence over coils (readout, phase), as `seen`, is above COHERENT.

    Once more than half of the coils are below, it is not, whatever the others are.
    """
    found: list[float] = []
    below = 0
    for coil in coils:
        coherence = _coherence(seen(coil))
        if coherence is not None:
            found.append(coherence)
            below += coherence <= COHERENT
        if 2 * below > len(coils):
            return False
    return bool(found) and float(np.median(found)) > COHERENT


def _coherence(coil: np.ndarray) -> float | None:
    """Return |mean of exp(i(arg k(f) + arg k(−f)))| over pairs of samples, None for too few of them.

    1 for the transform of a real image, whatever its constant phase and place; about 0 for noise.
    """
    block = coil[1 - coil.shape[0] % 2 :, 1 - coil.shape[1] % 2 :]  # odd: k(f) mirrors onto k(−f)
    # Each pair stands in it twice: half of the rows hold them all.
    half = block.shape[0] // 2 + 1
    product = block[:half] * block[::-1, ::-1][:half]
    size = np.abs(product)
    pairs = np.count_nonzero(size)
    if pairs < MIN_PAIRS // 2:
        return None
    unit = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    return float(np.abs(unit.sum())) / pairs


def _window(shape: tuple[int, ...]) -> np.ndarray:
    """Return the low-pass window of k-space (readout, phase), uncentred, float32."""
    window = np.ones(())
    for size in shape:
        half = max(1, min(16, size // 4))
        line = np.zeros(size)
        line[size // 2 - half : size // 2 + half + 1] = np.hanning(2 * half + 3)[1:-1]
        window = np.multiply.outer(window, line)
    return scipy.fft.ifftshift(window.astype(np.float32))


def _without_smooth_phase(coil: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return k-space (readout, phase) of the coil's image times exp(−i·phase of its low-resolution image)."""
    # Uncentred all the way, and the phase as a quotient: both are large savings on 15 coils.
    k = scipy.fft.ifftshift(coil)
    low = scipy.fft.ifft2(k * window)
    size = np.abs(low)
    phase = np.divide(low.conj(), size, out=np.ones_like(low), where=size > 0)
    return scipy.fft.fftshift(scipy.fft.fft2(scipy.fft.ifft2(k, overwrite_x=True) * phase))
