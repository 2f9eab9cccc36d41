"""Draw a scan whose field of view is smaller than the head, reconstructed with one and with two sets of maps.

python docs/pictures/map_sets.py espirit_brain_alias_8ch.mat docs/pictures/map_sets.png
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.io import loadmat

from mrunfold.coils import EspiritSettings
from mrunfold.io.scan import Header
from mrunfold.masks import draw
from mrunfold.methods import get_method
from mrunfold.prepare import ProblemSettings, build_problem

METHODS = ("sense", "unfold")


def main(data: str, picture: str) -> None:
    kspace = loadmat(data)["DATA"].transpose(2, 0, 1).astype(np.complex64)  # (coil, readout, phase)
    kspace = kspace[:, :, np.abs(kspace).sum(axis=(0, 1)) > 0]  # the lines that were acquired
    matrix = (kspace.shape[1], kspace.shape[2])
    header = Header(
        format="mat", slices=1, coils=len(kspace), matrix=matrix, unoversampled=matrix[0], crop=matrix
    )
    mask = draw("equispaced", matrix, 2, seed=0, calibration=24)
    columns = 1 + 2 * len(METHODS)
    figure, axes = plt.subplots(1, columns, figsize=(2.0 * columns, 4.4), layout="constrained")
    images = {}
    for sets in (1, 2):
        settings = ProblemSettings(espirit=EspiritSettings(sets=sets), cache=None)
        problem = build_problem(kspace, header, mask, settings=settings)
        assert problem.target is not None
        images["fully sampled"] = problem.target
        for name in METHODS:
            images[f"{name}, R = 2\n{sets} set{'s'[: sets - 1]}"] = get_method(name)(problem).mean
    for axis, (title, x) in zip(axes, images.items(), strict=True):
        axis.imshow(x.abs().square().sum(dim=0).sqrt(), cmap="gray", vmin=0, vmax=1.1)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9)
    figure.savefig(picture, dpi=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
