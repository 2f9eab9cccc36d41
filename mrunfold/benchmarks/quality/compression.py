"""`mrunfold bench compression`: what the default compression of coils costs in quality and saves in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.store import about
from mrunfold.masks import Mask, draw
from mrunfold.methods import Seeds, get_method
from mrunfold.metrics import psnr
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem

__all__ = ["CompressionRow", "markdown", "measure"]


@dataclass(frozen=True)
class CompressionRow:
    """Coils, PSNR (dB) and seconds (problem and reconstruction) with all coils and compressed by default.

    PSNR: of magnitudes against the fully sampled data combined with the maps of all coils, for both.
    """

    data: str
    mask: str
    accel: float
    coils: tuple[int, int]
    psnr: tuple[float, float]
    seconds: tuple[float, float]


def measure(
    slices: Iterable[FullSlice],
    kinds: Iterable[tuple[str, float]],
    weights: str | None = None,
    report: Callable[[CompressionRow], None] = lambda row: None,
) -> dict[str, Any]:
    """Return a row for each slice and mask (kind, acceleration), mask seed 0, reconstructed by unfold."""
    method = get_method("unfold", weights=weights)
    kinds, rows = list(kinds), []
    for full in slices:
        for kind, accel in kinds:
            mask = draw(kind, (full.header.unoversampled, full.header.matrix[1]), accel, seed=0)
            found, truth = [], None
            for settings in (ProblemSettings(compression=None, cache=None), ProblemSettings(cache=None)):
                start = time.perf_counter()
                problem = _problem(full, mask, settings)
                image = _magnitude(problem, method(problem, Seeds((0,))).mean)
                seconds = time.perf_counter() - start
                if truth is None:
                    truth = _magnitude(problem, problem.target)
                quality = float(psnr(truth, image, data_range=float(truth.max())))
                found.append((problem.y.shape[-3], quality, seconds))
            (c0, q0, s0), (c1, q1, s1) = found
            rows.append(CompressionRow(full.name, kind, accel, (c0, c1), (q0, q1), (s0, s1)))
            report(rows[-1])
    return {**about("compression"), "rows": [asdict(row) for row in rows]}


def markdown(found: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    rows = [
        [
            row["data"],
            f"{row['mask']} {row['accel']:g}",
            "{} → {}".format(*row["coils"]),
            f"{row['psnr'][0]:.2f}",
            f"{row['psnr'][1] - row['psnr'][0]:+.2f}",
            f"{row['seconds'][0] / row['seconds'][1]:.1f}",
        ]
        for row in found["rows"]
    ]
    return rows_markdown(["data", "mask", "coils", "all coils, dB", "compressed, dB", "× as fast"], rows)


def _problem(full: FullSlice, mask: Mask, settings: ProblemSettings) -> Problem:
    everything = np.ones(full.kspace.shape[-2:], bool)
    return build_problem(full.kspace, full.header, mask, acquired=everything, settings=settings)


def _magnitude(problem: Problem, x: Tensor | None) -> np.ndarray:
    """Return |x| in whitened units, which compression does not change, zero where no coil reaches."""
    assert problem.coil_gain is not None
    assert x is not None
    return (x.abs() * problem.scale * (problem.coil_gain > 0)).cpu().numpy()
