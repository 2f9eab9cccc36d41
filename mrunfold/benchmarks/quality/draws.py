"""`mrunfold bench samples`: draws of few network evaluations against the reverse process of many."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.quality.judge import combined_magnitude
from mrunfold.benchmarks.store import about
from mrunfold.errors import InputError
from mrunfold.masks import draw
from mrunfold.methods import get_method
from mrunfold.methods.base import Result, Seeds
from mrunfold.metrics import coverage, crps, sample_interval
from mrunfold.prepare import build_problem
from mrunfold.problem import Problem

__all__ = ["WAYS", "DrawsRow", "markdown", "measure", "summary"]

OBJECT = 0.1  # of the target's maximum: what lies above is of the object
FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)  # of the draws' distance from the mean
NOMINAL = 0.9
# The first is what the others are compared with.
WAYS: dict[str, dict[str, Any]] = {
    "reverse process, 8 levels": {"steps": 8},
    "reverse process, 2 levels": {"steps": 2, "sigma_start": 0.2, "sigma_min": 0.02},
    "around the mean, 1 level": {"levels": 1},
    "around the mean, 2 levels": {},
    "around the mean, 2 levels, not widened": {"splits": 0},
    "around the mean, 3 levels": {"levels": 3},
}


@dataclass(frozen=True)
class DrawsRow:
    """One way to draw, on one slice under one mask, over the pixels of the object.

    evaluations: of the network for all draws, the mean's left out; seconds, mean_seconds: of draws and of the
    mean alone; coverage: share of the target within the 90 % interval; crps, width, std, error: the score,
    the interval's width, the draws' standard deviation and the mean's root mean square error, in % of the
    target's maximum; covered: coverage where the distance from the mean is multiplied by `FACTORS`.
    """

    data: str
    mask: str
    accel: float
    way: str
    draws: int
    evaluations: int
    seconds: float
    mean_seconds: float
    coverage: float
    crps: float
    width: float
    std: float
    error: float
    covered: tuple[float, ...]


def measure(
    slices: Iterable[FullSlice],
    kinds: Sequence[tuple[str, float]],
    count: int,
    *,
    ways: Sequence[str] = tuple(WAYS),
    weights: str | None = None,
    report: Callable[[DrawsRow], None] = lambda row: None,
) -> list[DrawsRow]:
    """Return a row for each slice, mask and way of `count` draws; maps, scale and σ_y as in use."""
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise InputError(f"no way to draw is called {unknown[0]!r}; there are {', '.join(WAYS)}")
    rows = []
    for full in slices:
        everything = np.ones(full.kspace.shape[-2:], bool)
        for kind, accel in kinds:
            mask = draw(kind, full.kspace.shape[-2:], accel, seed=0)
            problem = build_problem(full.kspace, full.header, mask, acquired=everything, target="combined")
            plain = get_method("unfold", weights=weights)
            plain(problem)  # the first call warms up
            mean = plain(problem)
            for way in ways:
                method = get_method("unfold", weights=weights, samples=count, **WAYS[way])
                found = _row(problem, method(problem, Seeds((0,))), mean)
                rows.append(DrawsRow(full.name, kind, accel, way, count, **found))
                report(rows[-1])
    return rows


def _row(problem: Problem, found: Result, mean: Result) -> dict[str, Any]:
    assert problem.target is not None
    assert found.samples is not None
    truth = combined_magnitude(problem.target).cpu().numpy()
    inside, peak = truth > OBJECT * truth.max(), float(truth.max())
    draws = combined_magnitude(found.samples).cpu().numpy()
    low, high = sample_interval(draws, NOMINAL)
    error = combined_magnitude(found.mean).cpu().numpy() - truth
    return {
        "evaluations": found.evaluations - mean.evaluations,
        "seconds": found.seconds - mean.seconds,
        "mean_seconds": mean.seconds,
        "coverage": coverage(truth, low, high, inside),
        "crps": 100 / peak * float(crps(truth, draws)[inside].mean()),
        "width": 100 / peak * float((high - low)[inside].mean()),
        "std": 100 / peak * float(draws.std(axis=0, ddof=1)[inside].mean()),
        "error": 100 / peak * float(np.sqrt(np.mean(error[inside] ** 2))),
        "covered": tuple(_covered(found.mean, found.samples, f, truth, inside) for f in FACTORS),
    }


def _covered(mean: torch.Tensor, draws: torch.Tensor, factor: float, truth: Any, inside: Any) -> float:
    widened = combined_magnitude(mean + factor * (draws - mean)).cpu().numpy()
    return coverage(truth, *sample_interval(widened, NOMINAL), inside)


def summary(rows: Sequence[DrawsRow]) -> dict[str, Any]:
    """Return figures of each way over all slices and masks.

    coverage: mean, least and most; crps: ratio to the first way's on the same slice, mean; times: seconds of
    the draws over the mean's own, median; factor: of the distance from the mean, at which the mean coverage
    is 90 %, None where none of `FACTORS` reaches so far.
    """
    first = {(r.data, r.mask, r.accel): r.crps for r in rows if r.way == rows[0].way}
    found = []
    for way in dict.fromkeys(row.way for row in rows):
        mine = [row for row in rows if row.way == way]
        held = [row.coverage for row in mine]
        found.append(
            {
                "way": way,
                "draws": mine[0].draws,
                "evaluations": statistics.mean(row.evaluations for row in mine),
                "times": statistics.median(row.seconds / row.mean_seconds for row in mine),
                "coverage": [statistics.mean(held), min(held), max(held)],
                "crps": statistics.mean(row.crps for row in mine),
                "ratio": statistics.mean(row.crps / first[row.data, row.mask, row.accel] for row in mine),
                "width": statistics.mean(row.width for row in mine),
                "factor": _factor(mine),
            }
        )
    return {**about("samples"), "ways": found, "rows": [asdict(row) for row in rows]}


def _factor(rows: Sequence[DrawsRow]) -> float | None:
    covered = np.mean([row.covered for row in rows], axis=0)
    if not covered[0] <= NOMINAL <= covered[-1]:
        return None
    return float(np.interp(NOMINAL, np.maximum.accumulate(covered), FACTORS))


def markdown(found: dict[str, Any]) -> str:
    """Return the summary as a Markdown table, a row a way."""
    head = [
        "draws",
        "n",
        "network evaluations",
        "× the mean's time",
        "coverage, mean (least to most)",
        "CRPS, % of the maximum",
        "CRPS / the first's",
        "width, %",
        "factor for 90 %",
    ]
    rows = [
        [
            way["way"],
            str(way["draws"]),
            f"{way['evaluations']:.0f}",
            f"{way['times']:.1f}",
            "{:.3f} ({:.3f} to {:.3f})".format(*way["coverage"]),
            f"{way['crps']:.3f}",
            f"{way['ratio']:.3f}",
            f"{way['width']:.2f}",
            "—" if way["factor"] is None else f"{way['factor']:.2f}",
        ]
        for way in found["ways"]
    ]
    return rows_markdown(head, rows)
