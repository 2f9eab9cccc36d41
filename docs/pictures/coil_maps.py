"""Draw coil images, coil maps and their phases of a scan's middle slice, undersampled.

python docs/pictures/coil_maps.py scan.h5 docs/pictures/coil_maps.png
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from mrunfold.io import open_scan
from mrunfold.masks import draw
from mrunfold.operators import Sense, ifft2c
from mrunfold.prepare import ProblemSettings, build_problem

COILS = 6


def main(scan_path: str, picture: str) -> None:
    with open_scan(scan_path) as scan:
        shape = (scan.header.unoversampled, scan.header.matrix[1])
        mask = draw("poisson", shape, 8, seed=0)
        kspace = scan.kspace(len(scan) // 2)
        problem = build_problem(
            kspace, scan.header, mask, noise=scan.noise(), settings=ProblemSettings(cache=None)
        )
    assert isinstance(problem.A, Sense)
    maps = problem.A.maps[0, :COILS]
    images = ifft2c(problem.y[:COILS]).abs()
    phase = torch.where(maps.abs() > 0, maps.angle(), np.nan)
    rows = (
        ("zero-filled\ncoil images", images, "gray", 0, float(images.quantile(0.99))),
        ("|maps|", maps.abs(), "gray", 0, 1),
        ("phase of maps", phase, "twilight", -np.pi, np.pi),
    )
    figure, axes = plt.subplots(len(rows), len(maps), figsize=(1.6 * len(maps), 1.9 * len(rows)))
    for (name, values, colours, low, high), line in zip(rows, axes, strict=True):
        for image, axis in zip(values, line, strict=True):
            axis.imshow(image, interpolation="nearest", cmap=colours, vmin=low, vmax=high)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(picture, dpi=70)
    print(problem.record)


if __name__ == "__main__":
    main(*sys.argv[1:])
