"""Draw what a phase that winds about a point does to the learned mean, and that it no longer winds.

python docs/pictures/winding.py mchiew_SENSE_16ch.mat docs/pictures/winding.png

Or count the points about which the phase of maps winds, with either choice:

python docs/pictures/winding.py count brain_8ch_full.cfl mchiew_SENSE_16ch.mat siat_validation
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mrunfold.benchmarks.datasets import FullSlice, full_slices
from mrunfold.benchmarks.quality.judge import scores
from mrunfold.coils import phase
from mrunfold.masks import draw
from mrunfold.methods import get_method
from mrunfold.operators import Sense
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem

CHOICES = {"principal combination real": 0.0, "as mrunfold takes it": phase.VANISHING}
MASKS = (("poisson", 8.0), ("random", 4.0))
SEEDS = (0, 1)
SLICES = 4
# Once round four neighbours: places of (y, x) and of the next one.
ROUND = ((0, 0), (0, 1), (1, 1), (1, 0), (0, 0))


def problem_of(
    full: FullSlice, vanishing: float, kind: str = "poisson", accel: float = 8.0, seed: int = 0
) -> Problem:
    """Return the problem of a full slice; vanishing: 0 always makes the principal combination real."""
    mask = draw(kind, (full.header.unoversampled, full.header.matrix[1]), accel, seed=seed)
    everything = np.ones(full.kspace.shape[-2:], bool)
    kept, phase.VANISHING = phase.VANISHING, vanishing
    try:
        settings = ProblemSettings(cache=None)
        return build_problem(
            full.kspace, full.header, mask, acquired=everything, settings=settings, target="combined"
        )
    finally:
        phase.VANISHING = kept


def windings(problem: Problem) -> int:
    """Return about how many points of the object the phase of the maps winds.

    The angles between neighbours' maps, added up once round four of them, less the angle of their product,
    which is what the maps themselves turn by: a whole number of turns.
    """
    assert isinstance(problem.A, Sense)
    assert problem.target is not None
    maps, bright = problem.A.maps[0].numpy(), problem.target.abs()[0].numpy()
    inside = (bright > 0.1 * bright.max()) & maps.any(axis=0)
    height, width = inside.shape

    def corner(array: np.ndarray, at: tuple[int, int]) -> np.ndarray:
        return array[..., at[0] : height - 1 + at[0], at[1] : width - 1 + at[1]]

    links = [(corner(maps, a).conj() * corner(maps, b)).sum(axis=0) for a, b in pairwise(ROUND)]
    turns = np.rint((sum(np.angle(z) for z in links) - np.angle(np.prod(links, axis=0))) / (2 * np.pi))
    whole = np.logical_and.reduce([corner(inside, at) for at in ROUND])
    return int(np.abs(turns[whole]).sum())


def count(paths: list[Path]) -> None:
    print(f"| scan | problems | {' | '.join(CHOICES)} |\n|---|---|---|---|")
    for path in paths:
        slices = [full for full, _ in zip(full_slices(path), range(SLICES), strict=False)]
        found = [
            [windings(problem_of(full, vanishing, *one, seed)) for vanishing in CHOICES.values()]
            for full in slices
            for one in MASKS
            for seed in SEEDS
        ]
        print(
            f"| {path.stem} | {len(found)} | {' | '.join(str(n) for n in np.sum(found, axis=0))} |",
            flush=True,
        )


def main(data: str, picture: str) -> None:
    full = next(full_slices(Path(data)))
    shown: list[tuple[str, np.ndarray, str]] = []
    for title, vanishing in CHOICES.items():
        problem = problem_of(full, vanishing)
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
    if sys.argv[1] == "count":
        count([Path(p) for p in sys.argv[2:]])
    else:
        main(*sys.argv[1:])
