"""`mrunfold bench speed`: one slice by each method in one run, as ratios."""

from __future__ import annotations

import resource
import statistics
import sys
from collections.abc import Callable

import torch

from mrunfold.coils.simulated import simulated_maps
from mrunfold.methods import get_method
from mrunfold.operators import Sense
from mrunfold.problem import Problem, rescale

__all__ = ["measure"]


def measure(
    coils: int = 15,
    size: int = 320,
    repeats: int = 3,
    report: Callable[[str, float, float], None] = lambda name, seconds, ratio: None,
) -> dict[str, float]:
    """Return median seconds a slice of each method, maps given; report gets (name, seconds, × of l1_wavelet).

    The slice is a simulated disc, `coils`×size×size at Poisson R = 8; L1-wavelet and TV run 60 iterations.
    """
    problem = _problem(coils, size)
    methods = {
        "l1_wavelet": get_method("l1_wavelet", max_iter=60),
        "tv": get_method("tv", max_iter=60),
        "sense": get_method("sense"),
        "unfold": get_method("unfold"),
    }
    get_method("unfold")(problem)  # weights are read and memory is laid out once a process, not once a slice
    seconds = {
        name: statistics.median(method(problem).seconds for _ in range(repeats))
        for name, method in methods.items()
    }
    for name, value in seconds.items():
        report(name, value, seconds["l1_wavelet"] / value)
    return seconds


def peak_memory_mib() -> float:
    """Return the process's peak resident memory so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _problem(coils: int, size: int) -> Problem:
    from mrunfold.masks import draw

    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, size)
    radius = (axis[:, None] ** 2 + axis**2).sqrt()
    x = ((radius < 0.8) * (1 - 0.5 * (radius < 0.4))).to(torch.complex64)[None]
    maps = simulated_maps(coils, (size, size), generator)[None]
    mask = torch.from_numpy(draw("poisson", (size, size), 8.0, seed=0).array.copy())
    A = Sense(maps, mask)
    noise = torch.randn(A.range.shape, dtype=torch.complex64, generator=generator)
    y, sigma_y, scale = rescale(A(x) + 0.01 * A.mask * noise, A, torch.tensor(0.01))
    return Problem(y, A, sigma_y, scale)
