"""`mrunfold bench quality`: the learned reconstruction against classical ones at their best."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.benchmarks import store
from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.quality.judge import Judge, interval_coverage, scores
from mrunfold.benchmarks.quality.sweep import sweep
from mrunfold.coils import EspiritSettings
from mrunfold.masks import draw
from mrunfold.methods import Seeds, get_method
from mrunfold.networks.weights import load_weights
from mrunfold.prepare import ProblemSettings, build_problem

__all__ = ["Row", "load", "markdown", "measure", "merged", "save", "summary"]

GRID = (0.001, 0.002, 0.005, 0.01, 0.02)
CLASSICAL = ("l1_wavelet", "tv")
METHOD_ORDER = ("zero_filled", *CLASSICAL, "unfold")


@dataclass(frozen=True)
class Row:
    """One slice, mask and method: PSNR and SSIM of magnitudes with the target's maximum as data range.

    psnr, ssim: against the full data combined with the maps of the undersampled data; rss: PSNR of the root
    sum of squares of the predicted coil images against that of the full data, over the object, which sees
    what the maps cannot, None in files of before; lamda: the best of the sweep for psnr (`rss` has its own
    best), None for ours; coverage: share of pixels inside the object whose target lies in the 90 % interval,
    None without samples;
    made_by: what the method was given, so that a run that goes on knows which rows still hold.
    """

    data: str
    simulated: bool
    coils: int
    mask: str
    accel: float
    delivered: float
    seed: int
    sigma_y: float
    method: str
    lamda: float | None
    psnr: float
    ssim: float
    evaluations: int
    seconds: float
    coverage: float | None = None
    made_by: str = ""
    rss: float | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this row from the others of a comparison."""
        return self.data, self.mask, self.accel, self.seed, self.method, self.made_by


def measure(
    slices: Iterable[FullSlice],
    kinds: Sequence[tuple[str, float]],
    seeds: Sequence[int],
    *,
    weights: str | None = None,
    classical: Sequence[str] = CLASSICAL,
    grid: Sequence[float] = GRID,
    samples: int = 0,
    steps: int | None = None,
    ours: Mapping[str, Any] | None = None,
    map_sets: int | None = None,
    report: Callable[[Row], None] = lambda row: None,
    done: Sequence[Row] = (),
) -> list[Row]:
    """Return one Row for each slice, mask (kind, acceleration), seed and method.

    Maps, scale and σ_y come from the undersampled data.  Classical methods get the lamda of `grid` that suits
    the target most (one an image); ours has nothing to choose, and `ours`, further parameters of it, is for
    trials; map_sets: of coil maps, None for as many as a slice needs.  Rows of an earlier run in `done` are
    taken as they are; report gets each row when it is there.
    """
    parameters: dict[str, dict[str, Any]] = {m: {"grid": tuple(grid)} for m in classical}
    parameters |= {
        "zero_filled": {},
        "unfold": {"weights": weights, "samples": samples, "steps": steps, **(ours or {})},
    }
    settings = None if map_sets is None else ProblemSettings(espirit=EspiritSettings(sets=map_sets))
    known = {row.key: row for row in done}
    rows: list[Row] = []
    for full in slices:
        for kind, accel in kinds:
            for seed in seeds:
                for row in _one(full, kind, accel, seed, parameters, known, settings):
                    report(row)
                    rows.append(row)
    return rows


def method_words(name: str, parameters: dict[str, Any]) -> str:
    """Return the method's parameters in words, the weights by their sha256."""
    if name == "unfold":
        digest = load_weights(parameters["weights"])[1]["sha256"]
        parameters = parameters | {"weights": digest[:12]}
    return json.dumps(parameters)


def _one(
    full: FullSlice,
    kind: str,
    accel: float,
    seed: int,
    parameters: dict[str, dict[str, Any]],
    known: dict[tuple[Any, ...], Row],
    settings: ProblemSettings | None,
) -> Iterable[Row]:
    named = {
        name: method_words(name, parameters[name]) for name in sorted(parameters, key=METHOD_ORDER.index)
    }
    if settings is not None:
        named = {name: f"{words}, {settings.espirit.sets} sets of maps" for name, words in named.items()}
    keys = {name: (full.name, kind, accel, seed, name, made_by) for name, made_by in named.items()}
    if all(key in known for key in keys.values()):
        yield from (known[key] for key in keys.values())
        return
    header = full.header
    mask = draw(kind, (header.unoversampled, header.matrix[1]), accel, seed=seed)
    # Fully sampled by what it is: an exact zero among the samples of a scan is a sample too.
    everything = np.ones(full.kspace.shape[-2:], bool)
    problem = build_problem(
        full.kspace, header, mask, acquired=everything, settings=settings, target="combined"
    )
    common: dict[str, Any] = {
        "data": full.name,
        "simulated": full.simulated,
        "coils": problem.y.shape[-3],
        "mask": kind,
        "accel": accel,
        "delivered": mask.delivered,
        "seed": seed,
        "sigma_y": float(problem.sigma_y),
    }
    judge = Judge.of(full.kspace, problem)
    for name, made_by in named.items():
        if keys[name] in known:
            yield known[keys[name]]
        else:
            measured = _measured(name, judge, seed, parameters[name])
            yield Row(**common, method=name, made_by=made_by, **measured)


def _measured(name: str, judge: Judge, seed: int, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what a Row says of one reconstruction."""
    if name in CLASSICAL:
        found = sweep(name, judge.problem, **parameters)
        lamda, result = max(found.items(), key=lambda pair: judge.psnr(pair[1].mean))
        rss = max(judge.rss(r.mean) for r in found.values())
    else:
        lamda, result = None, get_method(name, **parameters)(judge.problem, Seeds((seed,)))
        rss = judge.rss(result.mean)
    quality = scores(judge.problem, result.mean)
    return {
        "lamda": lamda,
        "psnr": quality["psnr"],
        "ssim": quality["ssim"],
        "rss": rss,
        "evaluations": result.evaluations,
        "seconds": result.seconds,
        "coverage": None if result.samples is None else interval_coverage(judge.problem, result.samples),
    }


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a line for each data set and mask: mean PSNR a method, and our gain over the best classical.

    The gain is taken image by image over the best classical method there, then averaged; `least` is that of
    the image with the least; rss_gain and rss_least are the same by the score `rss`.
    """
    lines = []
    for data, kind, accel in dict.fromkeys((r.data.split("/")[0], r.mask, r.accel) for r in rows):
        mine = [r for r in rows if (r.data.split("/")[0], r.mask, r.accel) == (data, kind, accel)]
        whole = {(r.data, r.seed) for r in mine if r.method == "unfold"}
        mine = [r for r in mine if (r.data, r.seed) in whole]
        if not mine:
            continue  # a run that was stopped before ours: what is not whole has no gain
        by = {m: [r.psnr for r in mine if r.method == m] for m in dict.fromkeys(r.method for r in mine)}
        rivals = [by[m] for m in CLASSICAL if m in by]
        line: dict[str, Any] = {"data": data, "mask": kind, "R": accel, "n": len(by["unfold"])}
        line |= {name: float(np.mean(values)) for name, values in by.items()}
        gains = by["unfold"] - np.max(rivals, axis=0) if rivals else None
        line["gain"] = None if gains is None else float(np.mean(gains))
        line["least"] = None if gains is None else float(np.min(gains))
        line |= _rss_gains(mine)
        covered = [r.coverage for r in mine if r.coverage is not None]
        line["coverage"] = float(np.mean(covered)) if covered else None
        line["seconds"] = float(np.median([r.seconds for r in mine if r.method == "unfold"]))
        lines.append(line)
    return lines


def _rss_gains(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return the mean and least gain by the score `rss`, None where a row has none."""
    by = {m: [r.rss for r in rows if r.method == m] for m in dict.fromkeys(r.method for r in rows)}
    rivals = [by[m] for m in CLASSICAL if m in by]
    if not rivals or any(value is None for values in (by["unfold"], *rivals) for value in values):
        return {"rss_gain": None, "rss_least": None}
    gains = np.asarray(by["unfold"], float) - np.max(np.asarray(rivals, float), axis=0)
    return {"rss_gain": float(gains.mean()), "rss_least": float(gains.min())}


def merged(rows: Sequence[Row], earlier: Sequence[Row]) -> list[Row]:
    """Return `rows` and what they do not replace of an earlier run: other data, masks, seeds or methods."""
    return store.merged(rows, earlier, lambda row: row.key[:-1])


def save(rows: Sequence[Row], path: Path) -> None:
    """Write the rows and their summary, see `store.save_rows`."""
    store.save_rows(rows, path, summary=summary(rows))


def load(path: Path) -> list[Row]:
    """Read the rows that `save` wrote, see `store.load_rows`."""
    return store.load_rows(path, Row, "quality")[0]


def _cell(name: str, value: float | None) -> str:
    return "" if value is None else format(value, ".3f" if name == "coverage" else "+.2f")


def markdown(rows: Sequence[Row]) -> str:
    """Return the summary as a Markdown table: dB a method, our gain over the best classical, coverage, s."""
    lines = summary(rows)
    methods = [name for name in METHOD_ORDER if any(name in line for line in lines)]
    optional = [
        n
        for n in ("gain", "least", "rss_gain", "rss_least", "coverage")
        if any(line[n] is not None for line in lines)
    ]
    head = ["data", "mask", "R", "n", *methods, *optional, "s"]
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for line in lines:
        cells = [line["data"], line["mask"], f"{line['R']:g}", str(line["n"])]
        cells += [f"{line[name]:.2f}" for name in methods]
        cells += [
            format(line[name], ".3f" if name == "coverage" else "+.2f") if line[name] is not None else ""
            for name in optional
        ]
        cells += [f"{line['seconds']:.1f}"]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"
