"""Print what further passes of the mean gain: python docs/pictures/passes.py DATA.

DATA: the folder of training images; the slices are of subjects that mri-wide's training never saw, scanned by
eight simulated coils with noise of 1 % of the image's height, one mask of each kind.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.quality.judge import Judge
from mrunfold.benchmarks.quality.seen import training_slices
from mrunfold.masks import draw
from mrunfold.networks.weights import load_weights
from mrunfold.prepare import build_problem
from mrunfold.protocols import load_protocol

MASKS = (("random", 4.0), ("random", 6.0), ("poisson", 8.0), ("poisson", 4.0))
EACH = 4  # slices of each set of images
MOST = 4


@torch.no_grad()
def main(data: Path) -> None:
    """Print the table."""
    network, _ = load_weights("mri-wide")
    slices = list(training_slices(data, load_protocol("mri-wide"), EACH, held_back=True))
    rows = []
    for kind, accel in MASKS:
        psnr, taken = [], []
        for full in slices:
            mask = draw(kind, full.kspace.shape[-2:], accel, seed=0)
            everything = np.ones(full.kspace.shape[-2:], bool)
            problem = build_problem(full.kspace, full.header, mask, acquired=everything, target="combined")
            judge = Judge.of(full.kspace, problem)
            psnr.append([judge.psnr(network.mean(problem, n)) for n in range(1, MOST + 1)])
            given = problem.y, problem.A, problem.sigma_y
            taken.append(int(network.mean_and_evaluations(*given)[1].max()))
        gains = np.diff(np.mean(psnr, axis=0))
        rows.append([f"{kind}, R = {accel:g}", *(f"{g:+.2f}" for g in gains), f"{np.mean(taken):.1f}"])
    print(f"{len(slices)} slices\n")
    print(rows_markdown(["mask", "2nd", "3rd", "4th", "evaluations taken"], rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
