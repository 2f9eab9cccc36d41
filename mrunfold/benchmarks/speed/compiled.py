"""`mrunfold bench compile`: other ways to run the same network, against plain float32 in the same run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mrunfold.benchmarks.head import head_problem
from mrunfold.benchmarks.measured import median_seconds, rows_markdown
from mrunfold.benchmarks.store import about
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import load_weights
from mrunfold.problem import Problem

__all__ = ["WAYS", "markdown", "measure"]

WAYS = ("compiled priors", "compiled network", "bfloat16 priors")


@dataclass(frozen=True)
class Way:
    """A way's first call, its median seconds a slice, × as fast as plain, and its difference.

    warm_up: seconds of the first call beyond a plain one; difference: largest, of the image's height;
    slices: so many make up for the warm-up, None where it does not pay; failed: why there is no number.
    """

    name: str
    warm_up: float = 0.0
    seconds: float = 0.0
    gain: float = 0.0
    difference: float = 0.0
    slices: int | None = None
    failed: str = ""


def measure(
    coils: int = 8,
    size: int = 320,
    repeats: int = 5,
    ways: tuple[str, ...] = WAYS,
    weights: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time one mean, maps given, plain and each way; two ways share nothing that was compiled."""
    network, _ = load_weights(weights)
    problem = head_problem(coils, size)
    with torch.no_grad():
        plain = median_seconds(lambda: network.mean(problem), repeats)
        expected = network.mean(problem)
        report(f"plain: {plain:.3f} s")
        rows = []
        for name in ways:
            rows.append(_way(name, copy.deepcopy(network), problem, plain, expected, repeats))
            report(f"{name}: {rows[-1].failed or f'{rows[-1].seconds:.3f} s after {rows[-1].warm_up:.0f} s'}")
    return {
        **about("compile"),
        "coils": coils,
        "size": size,
        "plain": plain,
        "rows": [asdict(row) for row in rows],
    }


def _way(
    name: str, network: PosteriorDenoiser, problem: Problem, plain: float, expected: Tensor, repeats: int
) -> Way:
    torch.compiler.reset()
    if name == "compiled priors":
        for prior in network.priors:
            prior.compile()
    elif name == "compiled network":
        network.compile()
    precise = name != "bfloat16 priors"

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            return network.mean(problem)

    begin = time.perf_counter()
    try:
        image = run()
    except Exception as error:  # the compiler's errors have no class in common; the table says which
        return Way(name, failed=f"{type(error).__name__}: {str(error).splitlines()[0][:80]}")
    warm_up = max(time.perf_counter() - begin - plain, 0.0)
    seconds = median_seconds(run, repeats)
    difference = float((image - expected).abs().max() / expected.abs().max())
    slices = round(warm_up / (plain - seconds)) if seconds < plain else None
    return Way(name, warm_up, seconds, plain / seconds, difference, slices)


def markdown(found: dict[str, Any]) -> str:
    """Return the ways as a Markdown table."""
    rows = [["plain float32", f"{found['plain']:.2f}", "1.00", "", "", ""]]
    for r in found["rows"]:
        if r["failed"]:
            rows.append([r["name"], "", "", "", "", r["failed"].replace("|", "/")])
            continue
        pays = "never" if r["slices"] is None else str(r["slices"])
        cells = [f"{r['seconds']:.2f}", f"{r['gain']:.2f}", f"{r['warm_up']:.0f}", f"{r['difference']:.0e}"]
        rows.append([r["name"], *cells, pays])
    head = ["", "s a slice", "× as fast", "warm-up, s", "largest difference", "slices until it pays"]
    return rows_markdown(head, rows)
