"""Draw what a signal that decays while k-space is sampled does to an image, and find such decay in real ones.

python docs/pictures/decay.py draw ixi/T2.mat docs/pictures/decay.png
python docs/pictures/decay.py slopes siat_validation
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from mrunfold.benchmarks.datasets import full_slices
from mrunfold.operators import fft2c, ifft2c

SLOPES = (0.0, 0.4, 0.8)
BANDS = (0.1, 0.25, 0.4, 0.55)  # of the half width of k-space


def draw(source: str, picture: str) -> None:
    """Draw a slice with its k-space times exp(slope·u) along y: magnitude, and the part out of phase."""
    with h5py.File(source, "r") as file:
        slices = np.abs(np.asarray(file["data_fs"], dtype=np.float32))
    image = torch.from_numpy(slices[len(slices) // 2] / np.percentile(slices, 99.5))
    u = torch.linspace(-1, 1, image.shape[0])[:, None]
    figure, axes = plt.subplots(2, len(SLOPES), figsize=(3.2 * len(SLOPES), 4.4), layout="constrained")
    for (above, below), slope in zip(axes.T, SLOPES, strict=True):
        seen = ifft2c(fft2c(image.to(torch.complex64)) * torch.exp(slope * u))
        above.imshow(seen.abs(), cmap="gray", vmin=0, vmax=1)
        above.set_title(f"slope {slope:g}: magnitude", fontsize=9)
        below.imshow(seen.imag, cmap="gray", vmin=-0.25, vmax=0.25)
        below.set_title("part out of phase, ×4", fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.savefig(picture, dpi=70)


def slopes(folder: str) -> None:
    """Print half the log ratio of opposite halves of k-space over u, along both axes, a line an image.

    0 for an image that is real up to a constant; the slope where the signal decays as exp(slope·u).
    """
    print("image, slope along y and x, at u =", *BANDS)
    for full in full_slices(Path(folder), coils=1, sigma=0.0):
        k = np.abs(full.kspace[0][1:, 1:] if full.kspace.shape[-1] % 2 == 0 else full.kspace[0]) ** 2
        found = []
        for axis in (0, 1):
            u, v = (np.linspace(-1, 1, n) for n in (k.shape[axis], k.shape[1 - axis]))
            lines = np.moveaxis(k, axis, 0)[:, np.abs(v) < 0.25].mean(axis=1)
            for band in BANDS:
                near = np.abs(u - band) < 0.075
                ratio = lines[near].mean() / lines[::-1][near].mean()
                found.append(f"{np.log(ratio) / 4 / band:+.2f}")
        print(full.name, *found)


if __name__ == "__main__":
    {"draw": draw, "slopes": slopes}[sys.argv[1]](*sys.argv[2:])
