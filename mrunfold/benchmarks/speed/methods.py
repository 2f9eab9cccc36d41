"""`mrunfold bench methods`: one slice by each method in one run, as ratios, with the PSNR of each."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.benchmarks.datasets import FullSlice, full_slices
from mrunfold.benchmarks.head import head_slice
from mrunfold.benchmarks.measured import median_seconds, rows_markdown, synchronise
from mrunfold.benchmarks.quality.judge import scores
from mrunfold.benchmarks.quality.scans import CLASSICAL, GRID
from mrunfold.benchmarks.store import about
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.masks import draw
from mrunfold.methods import get_method
from mrunfold.operators import Sense
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem

__all__ = ["MethodRow", "markdown", "measure", "peak_memory_mib", "scan_problem"]

REFERENCE = "l1_wavelet"
NAMES = {
    "l1_wavelet": "SigPy L1-wavelet, 60 iterations",
    "tv": "SigPy total variation, 60 iterations",
    "bart": "BART `pics -l1`, 30 iterations (its default)",
    "sense": "SENSE",
    "unfold": "unfold, mean",
}


@dataclass(frozen=True)
class MethodRow:
    """A method's median seconds a slice, PSNR in dB at the best lamda of a grid, and speed over REFERENCE.

    overhead: seconds of a program's start and its files, which `seconds` has not in it.
    """

    name: str
    seconds: float
    psnr: float
    lamda: float | None
    ratio: float
    overhead: float = 0.0


def measure(
    data: Path | None = None,
    coils: int = 15,
    size: int = 320,
    repeats: int = 3,
    accel: float = 8.0,
    iterations: int = 60,
    weights: str | None = None,
    report: Callable[[MethodRow], None] = lambda row: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time each method on one slice, coil maps given and all coils kept, and return what was found.

    data: fully sampled raw data whose first slice is taken; a simulated head of coils×size×size where None.
    Classical methods run at each lamda of `GRID`, which does not change their work: their time is the median
    over it, their PSNR the best of it.  BART is left out, with the reason, where it is not installed.
    device: where ours and SENSE run; SigPy and BART run on the CPU.
    """
    name, problem = scan_problem(data, coils, size, accel)
    found: list[tuple[str, float, float, float | None, float]] = []
    for method, runs in _runs(problem, repeats, iterations, weights, device):
        best = max(runs, key=lambda run: run[1])
        seconds = statistics.median(run[0] for run in runs)
        found.append((method, seconds, best[1], best[2], best[3]))
    reference = next(row[1] for row in found if row[0] == REFERENCE)
    rows = [MethodRow(method, s, db, lamda, reference / s, extra) for method, s, db, lamda, extra in found]
    for row in rows:
        report(row)
    return {
        **about("methods"),
        "data": name,
        "device": device,
        "coils": int(problem.y.shape[-3]),
        "matrix": list(problem.y.shape[-2:]),
        "accel": accel,
        "skipped": {} if shutil.which("bart") else {"bart": "bart is not installed"},
        "rows": [asdict(row) for row in rows],
        "peak_memory_mib": peak_memory_mib(),
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    rows = [
        [
            NAMES[r["name"]],
            f"{r['seconds']:.2f}",
            f"{r['ratio']:.1f}",
            f"{r['psnr']:.2f}",
            "" if r["lamda"] is None else f"{r['lamda']:g}",
        ]
        for r in found["rows"]
    ]
    return rows_markdown(["method", "s a slice", "× as fast as L1-wavelet", "PSNR, dB", "best λ"], rows)


def peak_memory_mib() -> float:
    """Return the process's peak resident memory so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def scan_problem(data: Path | None, coils: int, size: int, accel: float) -> tuple[str, Problem]:
    """Return the name of a fully sampled scan and its problem at a Poisson mask, all coils kept."""
    full: FullSlice = head_slice(coils, size) if data is None else next(full_slices(data))
    header = full.header
    mask = draw("poisson", (header.unoversampled, header.matrix[1]), accel, seed=0)
    settings = ProblemSettings(compression=None, cache=None)
    held = np.ones(full.kspace.shape[-2:], bool)
    problem = build_problem(full.kspace, header, mask, acquired=held, settings=settings, target="combined")
    return "simulated head" if data is None else full.name, problem


Run = tuple[float, float, float | None, float]  # seconds, PSNR, lamda, overhead


def _runs(
    problem: Problem, repeats: int, iterations: int, weights: str | None, device: str
) -> Iterator[tuple[str, list[Run]]]:
    """Yield each method's runs."""

    there = problem.to(device)

    def ours(name: str, lamda: float | None = None, **parameters: Any) -> Run:
        given = problem if name in CLASSICAL else there
        method = get_method(name, **parameters, **({} if lamda is None else {"lamda": lamda}))
        begin = time.perf_counter()
        result = method(given)
        synchronise()
        seconds = time.perf_counter() - begin
        return seconds, scores(problem, result.mean.cpu())["psnr"], lamda, 0.0

    for name in CLASSICAL:
        ours(name, GRID[0], max_iter=1)  # SigPy's imports are no part of a slice
        yield name, [ours(name, lamda, max_iter=iterations) for lamda in GRID]
    if shutil.which("bart") is not None:
        yield "bart", _bart(problem, GRID)
    parameters: dict[str, Any]
    for name, parameters in (("sense", {}), ("unfold", {"weights": weights})):
        # Weights are read and memory is laid out once a process, not once a slice.
        yield name, [ours(name, None, **parameters) for _ in range(repeats + 1)][1:]


def _bart(problem: Problem, grid: Sequence[float]) -> list[Run]:
    """Run `bart pics -l1` with the same maps, data and threads; -w 1: lamda in the problem's units."""
    assert isinstance(problem.A, Sense)
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as name:
        folder = Path(name)
        write_cfl(folder / "kspace", problem.y.permute(1, 2, 0)[:, :, None].numpy())
        write_cfl(folder / "maps", problem.A.maps[0].permute(1, 2, 0)[:, :, None].numpy())

        def run(*words: str) -> float:
            begin = time.perf_counter()
            environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
            done = subprocess.run(
                ["bart", *words], cwd=folder, capture_output=True, check=False, text=True, env=environment
            )
            if done.returncode:
                raise RuntimeError(f"bart {words[0]} ended with {done.returncode}: {done.stderr[-500:]}")
            return time.perf_counter() - begin

        # A start, both files read, and one of their size written.
        overhead = median_seconds(lambda: run("fmac", "kspace", "maps", "nothing"), 3)
        runs: list[Run] = []
        for lamda in grid:
            seconds = run("pics", "-l1", "-r", str(lamda), "-w", "1", "kspace", "maps", "image")
            image = torch.from_numpy(np.ascontiguousarray(read_cfl(folder / "image").squeeze()))
            runs.append((max(seconds - overhead, 1e-9), _psnr(problem, image), lamda, overhead))
    return runs


def _psnr(problem: Problem, image: Tensor) -> float:
    return scores(problem, image[None])["psnr"]
