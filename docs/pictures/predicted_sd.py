"""Draw the predicted SD beside the error and the SD of draws: docs/pictures/predicted_sd.py SCAN OUT.png.

SCAN: a fully sampled measured scan, under two masks.  The correlations of the two maps are printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mrunfold.benchmarks.datasets import full_slices
from mrunfold.benchmarks.quality.judge import combined_magnitude
from mrunfold.figures import new_figure
from mrunfold.masks import draw
from mrunfold.methods import Seeds, get_method
from mrunfold.prepare import build_problem

MASKS = (("random", 4.0), ("poisson", 8.0))
GAIN, DRAWS = 5, 16


def main(scan: Path, out: Path) -> None:
    """Draw a row a mask: reference, mean, its error, the predicted SD, that of draws that are not widened."""
    full = next(iter(full_slices(scan)))
    figure = new_figure(figsize=(11, 5.4), dpi=110, facecolor="white")
    axes = figure.subplots(len(MASKS), 5, squeeze=False)
    for row, (kind, accel) in zip(axes, MASKS, strict=True):
        mask = draw(kind, full.kspace.shape[-2:], accel, seed=0)
        everything = np.ones(full.kspace.shape[-2:], bool)
        problem = build_problem(full.kspace, full.header, mask, acquired=everything, target="combined")
        found = get_method("unfold")(problem)
        drawn = get_method("unfold", samples=DRAWS, splits=0)(problem, Seeds((0,)))
        assert problem.target is not None
        assert found.predicted_sd is not None
        assert drawn.samples is not None
        truth, mean = (combined_magnitude(x).numpy().squeeze() for x in (problem.target, found.mean))
        draws = combined_magnitude(drawn.samples).numpy()
        sd, spread = found.predicted_sd.numpy(), draws.std(axis=0, ddof=1).squeeze()
        inside = truth > 0.1 * truth.max()
        print(f"{kind} R={accel:g}: correlation {np.corrcoef(sd[inside], spread[inside])[0, 1]:.2f}")
        shown = {
            "reference": truth,
            f"{kind} R = {accel:g}: mean": mean,
            f"its error ×{GAIN}": GAIN * np.abs(mean - truth),
            f"predicted SD ×{GAIN}": GAIN * sd,
            f"SD of {DRAWS} draws ×{GAIN}": GAIN * spread,
        }
        white = float(np.percentile(truth, 99.5))
        for axis, (name, image) in zip(row, shown.items(), strict=True):
            axis.imshow(np.rot90(image), cmap="gray", vmin=0, vmax=white, interpolation="antialiased")
            axis.set_title(name, fontsize=9, pad=3)
            axis.axis("off")
    figure.subplots_adjust(left=0.005, right=0.995, top=0.95, bottom=0.005, wspace=0.02, hspace=0.1)
    figure.savefig(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
