"""Print how much of what is left on simulated scans of complex images is noise of the images themselves.

python docs/pictures/reference_noise.py siat_validation

Each image is scanned as it is, then its part in phase with its own blur alone (which has half of the noise),
then that with new noise, then that with the decay of an echo train: the same coils, scan noise and mask.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from mrunfold.benchmarks.datasets import full_slices, scanned
from mrunfold.benchmarks.quality.scans import GRID, measure
from mrunfold.operators import fft2c, ifft2c

IMAGES = 4
NOISE = 0.016  # of the 99th percentile; √E|n|² of the air around these heads
SLOPE = 0.7
Array = np.ndarray


def in_phase(image: Array) -> Array:
    """Return the part of an image (y, x) whose phase is that of its blur by 5 pixels."""
    blur = ndimage.gaussian_filter(image.real, 5) + 1j * ndimage.gaussian_filter(image.imag, 5)
    turn = blur / np.maximum(np.abs(blur), 1e-9)
    return ((image * turn.conj()).real * turn).astype(np.complex64)


def noisy(image: Array) -> Array:
    draws = np.random.default_rng(0).standard_normal((2, *image.shape))
    return (image + NOISE / np.sqrt(2) * (draws[0] + 1j * draws[1])).astype(np.complex64)


def decayed(image: Array) -> Array:
    u = torch.linspace(-1, 1, image.shape[0])[:, None]
    return ifft2c(fft2c(torch.from_numpy(image)) * torch.exp(SLOPE * u)).numpy()


KINDS: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda image: image,
    "in phase": in_phase,
    "in phase, new noise": lambda image: noisy(in_phase(image)),
    "in phase, decay": lambda image: decayed(in_phase(image)),
}


def main(folder: str) -> None:
    slices = [s for s, _ in zip(full_slices(Path(folder), coils=1, sigma=0.0), range(IMAGES), strict=False)]
    images = [ifft2c(torch.from_numpy(s.kspace))[0].numpy() for s in slices]
    images = [image / np.percentile(np.abs(image), 99) for image in images]
    print("| image | σ_y | L1-wavelet | unfold | gain |\n|---|---|---|---|---|")
    for kind, change in KINDS.items():
        scans = [scanned(change(image), f"image {i}") for i, image in enumerate(images)]
        rows = measure(scans, (("poisson", 8.0),), (0,), classical=("l1_wavelet",), grid=GRID)
        sigma = np.mean([row.sigma_y for row in rows])
        l1, ours = (np.mean([r.psnr for r in rows if r.method == name]) for name in ("l1_wavelet", "unfold"))
        print(f"| {kind} | {sigma:.3f} | {l1:.2f} | {ours:.2f} | {ours - l1:+.2f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
