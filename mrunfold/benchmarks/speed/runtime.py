"""`mrunfold bench runtime`: the C++ program and Python on one slice, in turns, as a ratio."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import load_weights
from mrunfold.runtime import build, export_mean
from mrunfold.runtime.export import Inputs, example, mean_in_python
from mrunfold.runtime.program import read_image, run_program, write_inputs

__all__ = ["Runtimes", "measure"]


@dataclass(frozen=True)
class Runtimes:
    """program, python: median seconds a slice; ratio: Python over C++; difference: of the image's height."""

    program: float
    python: float
    ratio: float
    difference: float


def measure(
    coils: int = 15,
    size: int = 320,
    repeats: int = 5,
    rounds: int = 3,
    weights: str | None = None,
    folder: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Runtimes:
    """Time E[x₀ | y] of one slice, scaling included, in C++ and in Python, which take turns `rounds` times.

    coils×size×size, a simulated disc, a third of the points sampled; maps are given, and files are read
    and written outside of the timed part.  folder: where the program is built, None for a temporary one.
    Raises InputError where it cannot be built, RuntimeError where it fails.
    """
    network, metadata = load_weights(weights)
    inputs = example((1, 1, coils, size, size))
    with tempfile.TemporaryDirectory(prefix="mrunfold-") as name:
        work = Path(name)
        report("building the program, compiling the network")
        program = build(folder or work / "build")
        export_mean(work / "model.pt", network, metadata)
        options = [
            "--model",
            str(work / "model.pt"),
            *write_inputs(work, inputs),
            "--out",
            str(work / "image"),
        ]
        options += ["--threads", str(torch.get_num_threads()), "--repeat", str(repeats)]
        pairs = []
        for number in range(1, rounds + 1):
            pairs.append((_program(program, options), _python(network, inputs, repeats)))
            report(f"round {number}: Python / C++ {pairs[-1][1] / pairs[-1][0]:.2f}")
        image = read_image(work / "image")
    expected = mean_in_python(network, inputs)
    difference = float((image - expected).abs().max() / expected.abs().max())
    cpp, python = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Runtimes(cpp, python, statistics.median(b / a for a, b in pairs), difference)


def _program(program: Path, options: list[str]) -> float:
    done = run_program(program, options)
    found = re.search(r"median of \d+: ([\d.]+)", done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"mrunfold_recon ended with {done.returncode}: {done.stderr.strip()}")
    return float(found.group(1))


@torch.inference_mode()
def _python(network: PosteriorDenoiser, inputs: Inputs, repeats: int) -> float:
    mean_in_python(network, inputs)  # as the program reconstructs once before it is timed
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        mean_in_python(network, inputs)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)
