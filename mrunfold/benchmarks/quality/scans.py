"""`mrunfold bench quality`: the learned reconstruction against classical ones at their best."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.quality.sweep import best_of_sweep
from mrunfold.errors import InputError
from mrunfold.masks import draw
from mrunfold.methods import Seeds, get_method
from mrunfold.metrics import coverage, psnr, sample_interval, ssim
from mrunfold.networks.weights import load_weights
from mrunfold.prepare import build_problem
from mrunfold.problem import Problem

__all__ = ["Row", "load", "markdown", "measure", "merged", "save", "summary"]

GRID = (0.001, 0.002, 0.005, 0.01, 0.02)
CLASSICAL = ("l1_wavelet", "tv")
METHOD_ORDER = ("zero_filled", *CLASSICAL, "unfold")


@dataclass(frozen=True)
class Row:
    """One slice, mask and method: PSNR and SSIM of magnitudes with the target's maximum as data range.

    target: combined with the maps of the undersampled data; lamda: the best of the sweep, None for ours;
    coverage: share of pixels inside the object whose target lies in the 90 % interval, None without samples;
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

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this row from the others of a comparison."""
        return self.data, self.mask, self.accel, self.seed, self.method, self.made_by


def measure(
    slices: Iterable[FullSlice],
    laws: Sequence[tuple[str, float]],
    seeds: Sequence[int],
    *,
    weights: str | None = None,
    classical: Sequence[str] = CLASSICAL,
    grid: Sequence[float] = GRID,
    samples: int = 0,
    steps: int = 8,
    ours: Mapping[str, Any] | None = None,
    report: Callable[[Row], None] = lambda row: None,
    done: Sequence[Row] = (),
) -> list[Row]:
    """Return one Row for each slice, mask law (kind, acceleration), seed and method.

    Maps, scale and σ_y come from the undersampled data.  Classical methods get the lamda of `grid` that suits
    the target most (one an image); ours has nothing to choose, and `ours`, further parameters of it, is for
    trials.  Rows of an earlier run in `done` are taken as they are; report gets each row when it is there.
    """
    parameters: dict[str, dict[str, Any]] = {m: {"grid": tuple(grid)} for m in classical}
    parameters |= {
        "zero_filled": {},
        "unfold": {"weights": weights, "samples": samples, "steps": steps, **(ours or {})},
    }
    known = {row.key: row for row in done}
    rows: list[Row] = []
    for full in slices:
        for kind, accel in laws:
            for seed in seeds:
                for row in _one(full, kind, accel, seed, parameters, known):
                    report(row)
                    rows.append(row)
    return rows


def _made_by(name: str, parameters: dict[str, Any]) -> str:
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
) -> Iterable[Row]:
    named = {name: _made_by(name, parameters[name]) for name in sorted(parameters, key=METHOD_ORDER.index)}
    keys = {name: (full.name, kind, accel, seed, name, made_by) for name, made_by in named.items()}
    if all(key in known for key in keys.values()):
        yield from (known[key] for key in keys.values())
        return
    header = full.header
    mask = draw(kind, (header.unoversampled, header.matrix[1]), accel, seed=seed)
    # Fully sampled by what it is: an exact zero among the samples of a scan is a sample too.
    everything = np.ones(full.kspace.shape[-2:], bool)
    problem = build_problem(full.kspace, header, mask, acquired=everything, target="combined")
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
    for name, made_by in named.items():
        if keys[name] in known:
            yield known[keys[name]]
        else:
            yield Row(
                **common, method=name, made_by=made_by, **_measured(name, problem, seed, parameters[name])
            )


def _measured(name: str, problem: Problem, seed: int, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what a Row says of one reconstruction."""
    assert problem.target is not None
    lamda = None
    if name in CLASSICAL:
        result, lamda = best_of_sweep(name, problem, problem.target, **parameters)
    else:
        result = get_method(name, **parameters)(problem, Seeds((seed,)))
    quality = scores(problem, result.mean)
    return {
        "lamda": lamda,
        "psnr": quality["psnr"],
        "ssim": quality["ssim"],
        "evaluations": result.evaluations,
        "seconds": result.seconds,
        "coverage": None if result.samples is None else interval_coverage(problem, result.samples),
    }


def scores(problem: Problem, x: torch.Tensor) -> dict[str, float]:
    """Return PSNR and SSIM of |x| against the problem's target, data range the target's maximum.

    |x| is taken as zero where no coil reaches, as `recon` writes it; the target is zero there.
    """
    assert problem.target is not None
    assert problem.coil_gain is not None
    truth = problem.target.abs().cpu().numpy()
    estimate = (x.abs() * (problem.coil_gain > 0)).cpu().numpy()
    peak = float(truth.max())
    return {
        "psnr": float(psnr(truth, estimate, data_range=peak)),
        "ssim": float(ssim(truth, estimate, data_range=peak)),
    }


def interval_coverage(problem: Problem, samples: torch.Tensor) -> float:
    """Return the share of pixels inside the object whose target lies between the 5 % and 95 % quantiles.

    samples: (draw, set, y, x).  Inside: where the target exceeds 10 % of its maximum.
    """
    assert problem.target is not None
    truth = problem.target.abs().numpy()
    low, high = sample_interval(samples.abs().numpy(), 0.9)
    return float(coverage(truth, low, high, truth > 0.1 * truth.max()))


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a line for each data set and mask law: mean PSNR a method, and our gain over the best classical.

    The gain is taken image by image over the best classical method there, then averaged.
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
        line["gain"] = float(np.mean(by["unfold"] - np.max(rivals, axis=0))) if rivals else None
        covered = [r.coverage for r in mine if r.coverage is not None]
        line["coverage"] = float(np.mean(covered)) if covered else None
        line["seconds"] = float(np.median([r.seconds for r in mine if r.method == "unfold"]))
        lines.append(line)
    return lines


def merged(rows: Sequence[Row], earlier: Sequence[Row]) -> list[Row]:
    """Return `rows` and what they do not replace of an earlier run: other data, masks, seeds or methods."""
    here = {row.key[:-1] for row in rows}
    return [*rows, *(row for row in earlier if row.key[:-1] not in here)]


def save(rows: Sequence[Row], path: Path) -> None:
    """Write the rows and their summary as JSON, whole or not at all."""
    from mrunfold.io.atomic import atomic_path

    content = {"summary": summary(rows), "rows": [asdict(r) for r in rows]}
    with atomic_path(path) as part:
        Path(part).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> list[Row]:
    """Read the rows that `save` wrote; InputError where the file holds something else."""
    try:
        return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; write it with bench quality --out") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a table of bench quality ({error}); choose another file") from None


def markdown(rows: Sequence[Row]) -> str:
    """Return the summary as a Markdown table: dB a method, our gain over the best classical, coverage, s."""
    lines = summary(rows)
    methods = [name for name in METHOD_ORDER if any(name in line for line in lines)]
    optional = [n for n in ("gain", "coverage") if any(line[n] is not None for line in lines)]
    head = ["data", "mask", "R", "n", *methods, *optional, "s"]
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for line in lines:
        cells = [line["data"], line["mask"], f"{line['R']:g}", str(line["n"])]
        cells += [f"{line[name]:.2f}" for name in methods]
        shown = {"gain": "+.2f", "coverage": ".3f"}
        cells += [format(line[name], shown[name]) if line[name] is not None else "" for name in optional]
        cells += [f"{line['seconds']:.1f}"]
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"
