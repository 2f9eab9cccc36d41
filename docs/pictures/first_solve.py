"""Print how far the first solve of the network should go: steps and PSNR against its residual.

python docs/pictures/first_solve.py brain_8ch_full.cfl mchiew_SENSE_16ch.mat siat_validation

The residual at which it stops, in shares of the noise in Aᴴy, and beside it a fixed number of steps.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from mrunfold.benchmarks.datasets import FullSlice, full_slices
from mrunfold.benchmarks.quality.judge import scores
from mrunfold.masks import draw
from mrunfold.networks import consistency as unfold
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.weights import load_weights
from mrunfold.prepare import build_problem
from mrunfold.problem import Problem

SHARES = (1.0, 0.5, 0.2, 0.1)
FIXED = 8
MOST = 32
MASKS = (("poisson", 8.0), ("random", 4.0))
SLICES = 2


def problem_of(full: FullSlice, kind: str, accel: float) -> Problem:
    mask = draw(kind, (full.header.unoversampled, full.header.matrix[1]), accel, seed=0)
    everything = np.ones(full.kspace.shape[-2:], bool)
    return build_problem(full.kspace, full.header, mask, acquired=everything, target="combined")


def mean_of(problem: Problem, share: float, most: int) -> tuple[int, float]:
    """Return the steps of the first solve and the PSNR of the mean, dB."""
    network = load_weights()[0]
    network.start_iterations, unfold.START_RESIDUAL = most, share
    calls: list[int] = []
    solve = type(problem.A).solve_with_statistics

    def counted(self, *args, **options):
        solution = solve(self, *args, **options)
        calls.append(int(solution.iterations))
        return solution

    type(problem.A).solve_with_statistics = counted
    try:
        with torch.inference_mode(), convolutions_in(choose("auto", "cpu"), torch.device("cpu")):
            found = scores(problem, network.mean(problem))["psnr"]
    finally:
        type(problem.A).solve_with_statistics = solve
    return calls[0], found


def main(*paths: str) -> None:
    kept = unfold.START_RESIDUAL, load_weights()[0].start_iterations
    head = [f"{share:g} of the noise" for share in SHARES]
    print(f"| scan | mask | σ_y | {' | '.join(head)} | {FIXED} steps |\n|{'---|' * (len(SHARES) + 4)}")
    for path in map(Path, paths):
        slices = [full for full, _ in zip(full_slices(path), range(SLICES), strict=False)]
        for kind, accel in MASKS:
            problems = [problem_of(full, kind, accel) for full in slices]
            cells = []
            for share, most in (*((share, MOST) for share in SHARES), (0.0, FIXED)):
                steps, found = np.mean([mean_of(p, share, most) for p in problems], axis=0)
                cells.append(f"{found:.2f} ({steps:.0f})")
            sigma = np.mean([float(p.sigma_y) for p in problems])
            print(f"| {path.stem} | {kind} {accel:g} | {sigma:.4f} | {' | '.join(cells)} |", flush=True)
    unfold.START_RESIDUAL, load_weights()[0].start_iterations = kept


if __name__ == "__main__":
    main(*sys.argv[1:])
