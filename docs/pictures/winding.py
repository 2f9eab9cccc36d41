"""Draw what a phase that winds about a point does to the learned mean, and that it no longer winds.

python docs/pictures/winding.py mchiew_SENSE_16ch.mat docs/pictures/winding.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mrunfold.benchmarks.datasets import full_slices
from mrunfold.benchmarks.quality import scores
from mrunfold.coils import phase
from mrunfold.masks import draw
from mrunfold.methods import get_method
from mrunfold.problem import ProblemSettings, build_problem


def main(data: str, picture: str) -> None:
    full = next(full_slices(Path(data)))
    mask = draw("poisson", (full.header.unoversampled, full.header.matrix[1]), 8.0, seed=0)
    everything = np.ones(full.kspace.shape[-2:], bool)
    shown: list[tuple[str, np.ndarray, str]] = []
    kept = phase.VANISHING
    for title, vanishing in (("principal combination real", 0.0), ("as mrunfold takes it", kept)):
        phase.VANISHING = vanishing
        settings = ProblemSettings(cache=None)
        problem = build_problem(
            full.kspace, full.header, mask, acquired=everything, settings=settings, target="combined"
        )
        mean = get_method("unfold")(problem).mean
        assert problem.target is not None
        if not shown:
            shown.append(("reference", problem.target.abs()[0].numpy(), "gray"))
        shown.append((f"{title}\n{scores(problem, mean)['psnr']:.2f} dB", mean.abs()[0].numpy(), "gray"))
        shown.append((f"{title}\nphase", mean.angle()[0].numpy(), "twilight"))
    figure, axes = plt.subplots(1, len(shown), figsize=(2.6 * len(shown), 3.0), layout="constrained")
    white = float(np.quantile(shown[0][1], 0.995))
    for axis, (title, image, colours) in zip(axes, shown, strict=True):
        limits = {"vmin": 0.0, "vmax": white} if colours == "gray" else {"vmin": -np.pi, "vmax": np.pi}
        axis.imshow(image, cmap=colours, **limits)
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9)
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    main(*sys.argv[1:])
