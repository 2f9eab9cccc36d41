"""Where a slice's time goes from its file to its folder, each stage by its bound."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mrunfold.benchmarks.head import write_head
from mrunfold.benchmarks.measured import least_seconds, median_seconds, rows_markdown, synchronise
from mrunfold.benchmarks.speed.recon import one_run, settings
from mrunfold.benchmarks.store import about
from mrunfold.coils import EspiritSettings, maps_from_block
from mrunfold.coils.calibration import calibration_block
from mrunfold.io import open_scan
from mrunfold.masks import Mask, draw
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.weights import load_weights
from mrunfold.operators import Sense
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem
from mrunfold.solvers import Solution

__all__ = ["Machine", "Stage", "machine", "maps_bound", "markdown", "measure", "network_stages", "transforms"]

COMPLEX = 4  # real multiply-adds of a complex one; the counter takes it for one
# Steps of build_problem, as its record names them, by the rows of the table.
STEPS = {
    "look for data crimes": ("data crimes",),
    "whiten": ("oversampling", "mask", "noise"),
    "compress": ("calibration",),
    "coil maps": ("maps",),
    "scale": ("scale",),
    "target": ("target",),
}


@dataclass(frozen=True)
class Machine:
    """What this machine does at best: GFLOP/s of a float32 matmul and of one in the type that convolutions
    run in, GB/s (read + written) of a large copy."""

    gflops: float
    half_gflops: float
    copy: float


@dataclass(frozen=True)
class Stage:
    """Median seconds of a stage, what bounds it ("FFT", "convolution", "matmul", "memory" or "") and by how
    many seconds: those of the bare calls that it cannot do without, or its work at the machine's best."""

    name: str
    seconds: float
    kind: str = ""
    bound: float | None = None
    note: str = ""


def machine(megabytes: int = 256, matrix: int = 1024, repeats: int = 9, device: str = "cpu") -> Machine:
    """Measure a matmul of `matrix`² and a copy of so many MB, more than caches hold."""
    a = torch.ones(matrix, matrix, device=device)
    source = torch.ones(megabytes * 250_000, device=device)
    target = torch.empty_like(source)
    h = a.to(choose("auto", device))
    gflops, half = (2 * matrix**3 / least_seconds(partial(torch.mm, m, m), repeats) / 1e9 for m in (a, h))
    copy = 8 * source.numel() / least_seconds(lambda: target.copy_(source), repeats) / 1e9
    return Machine(gflops, half, copy)


def transforms(A: Sense, batch: int = 1, repeats: int = 9) -> float:
    """Return the least seconds of the bare FFT and inverse FFT of all coil images, in the chunks of Sense."""
    images = torch.ones((batch, *A.maps.shape[-3:]), dtype=A.maps.dtype, device=A.maps.device)

    def bare() -> None:
        for chunk in A.chunks():
            if A.axes:
                k = torch.fft.fftn(images[:, chunk], dim=A.axes, norm="ortho")
                torch.fft.ifftn(k, dim=A.axes, norm="ortho")

    return least_seconds(bare, repeats)


@dataclass(frozen=True, eq=False, repr=False)
class _Watched(Sense):
    """Sense that notes (was it the first solve, seconds, steps) of each solve."""

    solves: list[tuple[bool, float, int]] = field(default_factory=list)

    def solve_with_statistics(self, rhs, weight, shift, x0=None, **options: Any) -> Solution:
        synchronise()
        begin = time.perf_counter()
        solution = super().solve_with_statistics(rhs, weight, shift, x0, **options)
        synchronise()
        seconds = time.perf_counter() - begin
        self.solves.append((x0 is None, seconds, int(solution.iterations.max())))
        return solution


def measure(
    coils: int = 15,
    size: int = 320,
    repeats: int = 5,
    weights: str | None = None,
    megabytes: int = 256,
    report: Callable[[str], None] = lambda line: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return the stages of `recon` on one simulated slice, in the order of the work, with their bounds.

    Poisson R = 8, `recon`'s defaults, maps made anew, after one run that is not counted.
    """
    best, host = machine(megabytes, device=device), machine(megabytes)
    report(f"matmul {best.gflops:.1f} and {best.half_gflops:.1f} GFLOP/s, copy {best.copy:.1f} GB/s")
    chosen = settings(size, weights, device=device)
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as name:
        scan = write_head(Path(name), coils, size)
        one_run(scan, chosen)
        runs = [one_run(scan, chosen) for _ in range(repeats)]
        report(f"the whole: {statistics.median(run['seconds'] for run in runs):.3f} s")
        problem, white = _problem(scan, size)
        mask = median_seconds(partial(_mask, size), repeats)
        file_bytes = scan.stat().st_size
    network = network_stages(problem.to(device), weights, repeats, best)
    slice_bytes = 8 * coils * size * size
    before = [
        Stage("read", _clock(runs, "read"), "memory", 2 * slice_bytes / host.copy / 1e9),
        Stage("hash of the file", _clock(runs, "hash"), "memory", file_bytes / host.copy / 1e9),
        Stage("draw the mask", mask),
        *_problem_stages(runs, white, problem, slice_bytes, host),
    ]
    after = [
        Stage("check", _clock(runs, "check"), note="the slice again in 8 coils, without held-out samples"),
        Stage("recon.h5", _clock(runs, "write"), "memory", 2 * runs[-1]["written"] / host.copy / 1e9),
        Stage("NIfTI, scores, preview", _clock(runs, "export")),
    ]
    whole = statistics.median(run["seconds"] for run in runs)
    stages = [*before, *network, *after]
    rest = whole - sum(stage.seconds for stage in stages)
    stages.append(Stage("all else", max(rest, 0.0), note="zero-filled image, record, folders"))
    assert isinstance(problem.A, Sense)
    return {
        **about("cost"),
        "coils": coils,
        "virtual_coils": int(problem.A.maps.shape[-3]),
        "size": size,
        "device": device,
        "machine": asdict(best),
        "seconds": whole,
        "stages": [asdict(stage) for stage in stages],
    }


def _clock(runs: list[dict[str, Any]], stage: str) -> float:
    return statistics.median(run["record"]["seconds"].get(stage, 0.0) for run in runs)


def _mask(size: int) -> Mask:
    return draw("poisson", (size, size), 8.0, seed=0, calibration=settings(size).calibration)


def _problem(scan: Path, size: int) -> tuple[Problem, np.ndarray]:
    """Return the problem that `recon` has, and its calibration block."""
    mask = _mask(size)
    with open_scan(scan) as opened:
        problem = build_problem(
            opened.kspace(0), opened.header, mask, settings=ProblemSettings(cache=None), target="combined"
        )
    y = problem.y.numpy()
    return problem, calibration_block(y, mask.array, 24, 6)


def _problem_stages(
    runs: list[dict[str, Any]], block: np.ndarray, problem: Problem, slice_bytes: int, best: Machine
) -> list[Stage]:
    """Return the stages of build_problem; least traffic: k-space read and written once a row."""
    assert isinstance(problem.A, Sense)

    def seconds(steps: tuple[str, ...]) -> float:
        records = [run["record"]["slices"][0]["problem"]["seconds"] for run in runs]
        return statistics.median(sum(record.get(step, 0.0) for step in steps) for record in records)

    height, width = problem.A.domain.shape[-2:]
    products = maps_bound(block, (height, width), best)
    traffic = 2 * slice_bytes / best.copy / 1e9
    pair = transforms(problem.A)
    bounds: dict[str, tuple[str, float]] = {
        "look for data crimes": ("memory", traffic / 2),
        "whiten": ("memory", traffic),
        "compress": ("memory", traffic),
        "coil maps": ("matmul", products),
        "scale": ("FFT", pair / 2),
        "target": ("FFT", pair / 2),
    }
    kept = {"compress": f"{problem.A.maps.shape[-3]} virtual coils kept"}
    return [Stage(name, seconds(steps), *bounds[name], kept.get(name, "")) for name, steps in STEPS.items()]


def maps_bound(block: np.ndarray, shape: tuple[int, int], best: Machine) -> float:
    """Return the seconds of the products that ESPIRiT of a calibration region cannot do without."""
    with FlopCounterMode(display=False) as counter:
        maps_from_block(block, shape, EspiritSettings())
    return COMPLEX * counter.get_total_flops() / best.gflops / 1e9


@torch.no_grad()
def network_stages(problem: Problem, weights: str | None, repeats: int, best: Machine) -> list[Stage]:
    """Return the first solve, the priors and the data consistency of one mean, and what is left of it."""
    assert isinstance(problem.A, Sense)
    device = problem.y.device
    network = load_weights(weights)[0].to(device)
    A = _Watched(problem.A.maps, problem.A.mask, problem.A.coil_chunk)
    watched = Problem(problem.y, A, problem.sigma_y, problem.scale)

    def mean() -> None:
        with convolutions_in(choose("auto", device), device):
            network.mean(watched)

    mean()
    firsts, blocks, priors, rests, steps = [], [], [], [], (0, 0)
    for _ in range(repeats):
        A.solves.clear()
        with _Stopwatch(network.priors) as inside:
            begin = time.perf_counter()
            mean()
            synchronise()
            whole = time.perf_counter() - begin
        first = sum(seconds for start, seconds, _ in A.solves if start)
        later = [solve for solve in A.solves if not solve[0]]
        firsts.append(first)
        blocks.append(sum(seconds for _, seconds, _ in later))
        priors.append(inside.seconds)
        rests.append(whole - first - blocks[-1] - inside.seconds)
        # A solve knows AᴴA of where it begins, from the solve before: a normal operator a step.
        steps = sum(n for start, _, n in A.solves if start), sum(n for *_, n in later)
    pair = transforms(A)
    with FlopCounterMode(display=False) as counter:
        for k in range(network.blocks):
            network.prior(k)(problem.A.adjoint(problem.y), problem.sigma_y)
    flops = counter.get_total_flops()
    middle = statistics.median
    # Aᴴy and A x₀ are a pair of transforms together.
    others, said = (2, "Aᴴy, A x₀, AᴴA u") if network.x0_has_noise else (1, "Aᴴy, A x₀")
    speed = flops / middle(priors) / 1e9
    return [
        Stage("first solve", middle(firsts), "FFT", steps[0] * pair, f"{steps[0]} normal operators"),
        Stage(
            "priors", middle(priors), "convolution", flops / best.half_gflops / 1e9, f"{speed:.0f} GFLOP/s"
        ),
        Stage("data consistency", middle(blocks), "FFT", steps[1] * pair, f"{steps[1]} normal operators"),
        Stage("levels and misfit", middle(rests), "FFT", others * pair, said),
    ]  # fmt: skip


class _Stopwatch:
    """Adds up the wall time of modules that are called one after another."""

    def __init__(self, modules: nn.ModuleList) -> None:
        self.seconds, self._begun = 0.0, 0.0
        self._modules = modules
        self._hooks: list[Any] = []

    def __enter__(self) -> _Stopwatch:
        for module in self._modules:
            self._hooks.append(module.register_forward_pre_hook(self._start))
            self._hooks.append(module.register_forward_hook(self._stop))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _start(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        synchronise()
        self._begun = time.perf_counter()

    def _stop(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        synchronise()
        self.seconds += time.perf_counter() - self._begun


def markdown(found: dict[str, Any]) -> str:
    """Return the stages as a Markdown table; of the bound: the share of the time that its bound explains."""
    names = {f.name for f in fields(Stage)}
    stages = [Stage(**{k: v for k, v in row.items() if k in names}) for row in found["stages"]]
    rows = [
        [
            stage.name,
            f"{1e3 * stage.seconds:.1f}",
            f"{100 * stage.seconds / found['seconds']:.0f} %",
            stage.kind,
            "" if stage.bound is None else f"{1e3 * stage.bound:.1f}",
            "" if not stage.bound else f"{100 * stage.bound / max(stage.seconds, 1e-9):.0f} %",
            stage.note,
        ]
        for stage in stages
    ]
    rows.append(["**whole**", f"{1e3 * found['seconds']:.1f}", "", "", "", "", ""])
    head = ["stage", "ms", "share", "bound by", "bound, ms", "of the bound", ""]
    return rows_markdown(head, rows)
