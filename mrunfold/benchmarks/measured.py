"""Files of what a benchmark measured, and the Markdown tables made from them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mrunfold.errors import InputError
from mrunfold.export import platform_facts, versions
from mrunfold.export.record import to_json
from mrunfold.io import atomic_path

__all__ = [
    "about",
    "least_seconds",
    "median_seconds",
    "read_measured",
    "rows_markdown",
    "save_measured",
    "synchronise",
]


def about(bench: str) -> dict[str, Any]:
    """Return which `mrunfold bench` this is, and what ran it: versions, system, CPU threads."""
    return {
        "bench": bench,
        "threads": torch.get_num_threads(),
        "platform": platform_facts(),
        "versions": versions(("mrunfold", "torch", "numpy", "sigpy")),
    }


def save_measured(found: dict[str, Any], path: Path) -> None:
    """Write what was measured as JSON, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(to_json(found) + "\n", encoding="utf-8")


def read_measured(path: Path) -> dict[str, Any]:
    """Read what `save_measured` wrote; InputError where the file holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and isinstance(found.get("bench"), str):
            return found
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it with mrunfold bench … --out") from None
    raise InputError(f"{path} holds no measurement of its own; write it with mrunfold bench … --out")


def synchronise() -> None:
    """Wait until the GPU, where there is one, has done what it was asked: a clock means nothing before."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median wall time of `repeats` calls, after one that does not count."""
    return statistics.median(_seconds(call, repeats))


def least_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the least wall time of `repeats` calls, after one that does not count: for bounds."""
    return min(_seconds(call, repeats))


def _seconds(call: Callable[[], Any], repeats: int) -> list[float]:
    call()
    synchronise()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        synchronise()
        seconds.append(time.perf_counter() - begin)
    return seconds


def rows_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are text already."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
