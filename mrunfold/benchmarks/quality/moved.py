"""`mrunfold bench moved`: how far the rows of two files of `bench quality` lie apart, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence

from mrunfold.benchmarks.quality.scans import Row
from mrunfold.errors import InputError

__all__ = ["markdown", "moved"]

Cell = tuple[str, str, float, int, str]


def moved(before: Sequence[Row], now: Sequence[Row]) -> dict[Cell, float]:
    """Return PSNR now − before in dB for each (data, mask, acceleration, seed, method) that both have.

    InputError where they have none in common.
    """
    earlier = {_cell(row): row.psnr for row in before}
    found = {_cell(row): row.psnr - earlier[_cell(row)] for row in now if _cell(row) in earlier}
    if not found:
        raise InputError(
            "the two files have no slice, mask, seed and method in common; measure the same again"
        )
    return found


def _cell(row: Row) -> Cell:
    return row.data, row.mask, row.accel, row.seed, row.method


def markdown(found: dict[Cell, float]) -> str:
    """Return a line for each method: how many rows, and the largest fall and rise in dB."""
    text = ["| method | rows | lowest / dB | highest / dB |", "|---|---|---|---|"]
    for method in dict.fromkeys(cell[-1] for cell in found):
        values = [value for cell, value in found.items() if cell[-1] == method]
        text.append(f"| {method} | {len(values)} | {min(values):+.4f} | {max(values):+.4f} |")
    return "\n".join(text) + "\n"
