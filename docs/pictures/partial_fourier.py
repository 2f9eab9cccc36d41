"""Draw and score partial Fourier on measured scans: python docs/pictures/partial_fourier.py DATA OUT.png.

DATA: the folder with kspace/, fully sampled measured scans.  The last lines are left out; maps, noise level
and scale come from the rest.  The table is printed.  Below is a scan that was measured so, 288 of 512 lines.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import scipy.io
import torch

from mrunfold.benchmarks.datasets import full_slices
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.quality.judge import Judge, combined_magnitude
from mrunfold.io.arrays import ArrayScan
from mrunfold.masks import acquired
from mrunfold.methods.registry import get_method
from mrunfold.prepare import build_problem

SCANS = (
    "knoll_brain_T2_kdata1.mat",
    "larson_T1sag_kspace_1ch.mat",
    "brain_8ch_full.cfl",
    "mchiew_SENSE_16ch.mat",
)
FRACTIONS = (9 / 16, 5 / 8, 6 / 8)
METHODS = ("zero_filled", "sense", "homodyne", "pocs", "unfold")


def partly_measured(data: Path) -> list[np.ndarray]:
    """Return images of a scan of which the scanner measured 288 of 512 lines, by each method."""
    lines = scipy.io.loadmat(data / "kspace" / "knoll_brain_partialfourier.mat")["kdata"]
    kspace = np.zeros((1, 1, 512, 512), np.complex64)
    kspace[0, 0, :, : lines.shape[1]] = lines  # its centre is line 256
    scan = ArrayScan(kspace)
    problem = build_problem(scan.kspace(0), scan.header, acquired(scan.acquired(0)), target="none")
    return [np.asarray(combined_magnitude(get_method(m)(problem).mean)).squeeze() for m in METHODS]


@torch.no_grad()
def main(data: Path, out: Path) -> None:
    """Print the table and draw the first scan with the least of its lines."""
    from matplotlib import pyplot as plt

    rows, shown = [], []
    for name in SCANS:
        full = next(iter(full_slices(data / "kspace" / name)))
        for fraction in FRACTIONS:
            keep = np.zeros(full.kspace.shape[1:], bool)
            keep[:, : round(keep.shape[1] * fraction)] = True
            everything = np.ones(keep.shape, bool)
            mask = acquired(keep)
            problem = build_problem(full.kspace, full.header, mask, acquired=everything, target="combined")
            judge = Judge.of(full.kspace, problem)
            images = [get_method(method)(problem).mean for method in METHODS]
            rows.append([Path(name).stem, f"{fraction:.4g}", *(f"{judge.psnr(x):.2f}" for x in images)])
            print(rows[-1], file=sys.stderr, flush=True)
            if not shown:
                shown = [np.asarray(combined_magnitude(x)).squeeze() for x in (*images, problem.target)]
    print(rows_markdown(["scan", "lines", *METHODS], rows))
    measured = partly_measured(data)
    figure, axes = plt.subplots(3, len(shown), figsize=(2 * len(shown), 6))
    for place, (image, title) in enumerate(zip(shown, (*METHODS, "full"), strict=True)):
        for axis, values, top in ((axes[0], image, 1.1), (axes[1], 5 * np.abs(image - shown[-1]), 1.1)):
            axis[place].imshow(values, cmap="gray", vmin=0, vmax=top)
            axis[place].axis("off")
        axes[0][place].set_title(title, fontsize=9)
        axes[2][place].axis("off")
    for place, image in enumerate(measured):
        axes[2][place].imshow(image, cmap="gray", vmin=0, vmax=1.1)
    figure.tight_layout(pad=0.3)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
