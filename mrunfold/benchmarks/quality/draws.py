"""`mrunfold bench samples`: ways to draw, and to predict the draws' spread, against each other."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.measured import median_seconds, rows_markdown
from mrunfold.benchmarks.quality.judge import combined_magnitude
from mrunfold.benchmarks.store import about, read_measured
from mrunfold.errors import InputError
from mrunfold.masks import draw
from mrunfold.methods import get_method
from mrunfold.methods.base import Result, Seeds
from mrunfold.methods.unfold import Unfold
from mrunfold.metrics import coverage, crps, crps_normal, sample_interval
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.weights import load_weights
from mrunfold.prepare import build_problem
from mrunfold.problem import Problem

__all__ = ["ALL_WAYS", "PREDICTED", "WAYS", "DrawsRow", "load", "markdown", "measure", "summary"]

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
PREDICTED = "predicted SD"  # no draws: the interval of a Gaussian
ALL_WAYS = (*WAYS, PREDICTED)
NORMAL = 1.6448536269514722  # standard deviations to either side of a Gaussian that hold NOMINAL of it
REPEATS = 5  # of the prediction, which is short


@dataclass(frozen=True)
class DrawsRow:
    """One way to draw, on one slice under one mask, over the pixels of the object.

    evaluations: of the network for all draws, the mean's left out; seconds, mean_seconds: of draws and of the
    mean alone; coverage: share of the target within the 90 % interval; crps, width, std, error: the score,
    the interval's width, the draws' standard deviation and the mean's root mean square error, in % of the
    target's maximum; covered: coverage where the distance from the mean is multiplied by `FACTORS`; weights:
    sha256 of those used; like_draws: of `PREDICTED` the correlation of its map with that of the first way
    that draws, None where none did.
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
    weights: str | None = None
    like_draws: float | None = None

    @property
    def problem(self) -> tuple[str, str, float]:
        """The slice and its mask."""
        return self.data, self.mask, self.accel

    @property
    def key(self) -> tuple[Any, ...]:
        """What this is a measurement of."""
        return self.data, self.mask, self.accel, self.way, self.draws, self.weights


def measure(
    slices: Iterable[FullSlice],
    kinds: Sequence[tuple[str, float]],
    count: int,
    *,
    ways: Sequence[str] = tuple(WAYS),
    weights: str | None = None,
    report: Callable[[DrawsRow], None] = lambda row: None,
    done: Sequence[DrawsRow] = (),
) -> list[DrawsRow]:
    """Return a row for each slice, mask and way of `count` draws; maps, scale and σ_y as in use.

    done: rows of an earlier run, of which those of the same weights are not measured again.
    """
    unknown = [way for way in ways if way not in ALL_WAYS]
    if unknown:
        raise InputError(f"no way to draw is called {unknown[0]!r}; there are {', '.join(ALL_WAYS)}")
    rows: list[DrawsRow] = []
    digest = load_weights(weights)[1]["sha256"]
    known = {row.key: row for row in done}
    for full in slices:
        everything = np.ones(full.kspace.shape[-2:], bool)
        for kind, accel in kinds:
            keys = [(full.name, kind, accel, w, 0 if w == PREDICTED else count, digest) for w in ways]
            if all(key in known for key in keys):
                rows += [known[key] for key in keys]
                continue
            mask = draw(kind, full.kspace.shape[-2:], accel, seed=0)
            problem = build_problem(full.kspace, full.header, mask, acquired=everything, target="combined")
            for found in _ways(problem, ways, count, weights):
                rows.append(DrawsRow(full.name, kind, accel, weights=digest, **found))
                report(rows[-1])
    return rows


def _ways(problem: Problem, ways: Sequence[str], count: int, weights: str | None) -> Iterator[dict[str, Any]]:
    """Yield what a DrawsRow says of each way on one problem."""
    mean: Result | None = None
    spread: np.ndarray | None = None
    for way in ways:
        if way == PREDICTED:
            yield {"way": way, "draws": 0, **_predicted(problem, weights, spread)}
            continue
        if mean is None:
            plain = get_method("unfold", weights=weights, sd=False)
            plain(problem)  # the first call warms up
            mean = plain(problem)
        found = get_method("unfold", weights=weights, samples=count, **WAYS[way])(problem, Seeds((0,)))
        assert found.samples is not None
        if spread is None:
            spread = combined_magnitude(found.samples).cpu().numpy().std(axis=0, ddof=1)
        yield {"way": way, "draws": count, **_row(problem, found, mean)}


@torch.no_grad()
def _predicted(problem: Problem, weights: str | None, spread: np.ndarray | None) -> dict[str, Any]:
    """Return what a DrawsRow says of the standard deviation that the network predicts; spread: the draws'."""
    method, network = Unfold(weights=weights), load_weights(weights)[0]
    with convolutions_in(choose("auto", problem.y.device), problem.y.device):
        first = time.perf_counter()
        mean, path = network.mean_and_path(problem.y, problem.A, problem.sigma_y)
        mean_seconds = time.perf_counter() - first
    predicted, said = method.predicted(problem, path)
    if predicted is None:
        raise InputError(f"no SD is predicted: {said['none']}")
    assert problem.target is not None
    truth, image = (combined_magnitude(x).cpu().numpy() for x in (problem.target, mean))
    inside, peak, sd = (
        truth > OBJECT * truth.max(),
        float(truth.max()),
        predicted.cpu().numpy().reshape(truth.shape),
    )

    def covered(factor: float) -> float:
        reach = factor * NORMAL * sd
        return coverage(truth, image - reach, image + reach, inside)

    return {
        "evaluations": 0,
        "seconds": median_seconds(lambda: method.predicted(problem, path), REPEATS),
        "mean_seconds": mean_seconds,
        "coverage": covered(1.0),
        "crps": 100 / peak * float(crps_normal(truth, image, sd)[inside].mean()),
        "width": 100 / peak * float((2 * NORMAL * sd)[inside].mean()),
        "std": 100 / peak * float(sd[inside].mean()),
        "error": 100 / peak * float(np.sqrt(np.mean((image - truth)[inside] ** 2))),
        "covered": tuple(covered(factor) for factor in FACTORS),
        "like_draws": None if spread is None else float(np.corrcoef(sd[inside], spread[inside])[0, 1]),
    }


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

    coverage: mean, least and most; crps; ratio: to the first way's CRPS on the same slice, mean; times:
    seconds of the draws, or of the prediction, over the mean's own, median; factor: of the distance from the
    mean, at which the mean coverage is 90 %, None where none of `FACTORS` reaches so far; like_draws: mean
    correlation of predicted maps with those of draws.
    """
    first = {row.problem: row.crps for row in rows if row.way == rows[0].way}
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
                "ratio": _mean_of([row.crps / first.get(row.problem, math.nan) for row in mine]),
                "width": statistics.mean(row.width for row in mine),
                "factor": _factor(mine),
                "like_draws": _mean_of([row.like_draws for row in mine]),
            }
        )
    return {**about("samples"), "ways": found, "rows": [asdict(row) for row in rows]}


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.mean(known) if known else None


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
    also = any(way.get("like_draws") is not None for way in found["ways"])
    rows = [
        [
            way["way"],
            str(way["draws"]),
            f"{way['evaluations']:.0f}",
            f"{way['times']:.2f}" if way["times"] < 1 else f"{way['times']:.1f}",
            "{:.3f} ({:.3f} to {:.3f})".format(*way["coverage"]),
            f"{way['crps']:.3f}",
            "—" if way["ratio"] is None else f"{way['ratio']:.3f}",
            f"{way['width']:.2f}",
            "—" if way["factor"] is None else f"{way['factor']:.2f}",
            *([_correlation(way.get("like_draws"))] if also else []),
        ]
        for way in found["ways"]
    ]
    return rows_markdown([*head, *(["correlation with the draws' map"] if also else [])], rows)


def _correlation(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def load(path: Path) -> list[DrawsRow]:
    """Return the rows that `bench samples --out` wrote; InputError for a file of something else."""
    found = read_measured(path, "samples")
    try:
        return [DrawsRow(**{**row, "covered": tuple(row["covered"])}) for row in found["rows"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a table of bench samples ({error}); choose another file") from None
