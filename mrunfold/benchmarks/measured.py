"""What a benchmark prints: seconds of a call, and a Markdown table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["least_seconds", "median_seconds", "rows_markdown", "synchronise"]


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
