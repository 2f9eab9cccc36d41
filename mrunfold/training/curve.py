"""The loss curve of a run, from the CSV logs of all its parts."""

from __future__ import annotations

import csv
from pathlib import Path

from mrunfold.figures import new_figure
from mrunfold.io.atomic import atomic_path

__all__ = ["read_log", "write_curve"]


def read_log(folder: Path, name: str = "loss") -> list[tuple[int, float]]:
    """Return (step, value) of a metric over all parts of a run, the latest where a step was done again."""
    parts = sorted(folder.glob("version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1]))
    found: dict[int, float] = {}
    for part in parts:
        with part.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get(name):
                    found[int(row["step"])] = float(row[name])
    return sorted(found.items())


def write_curve(folder: Path, picture: Path, title: str) -> None:
    """Draw the loss, and the validation where there is one, against the step; nothing without a log."""
    loss, validation = read_log(folder), read_log(folder, "validation")
    if not loss:
        return
    figure = new_figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*loss, strict=True), lw=0.6, alpha=0.4, color="C0")
    axes.plot(*zip(*_smoothed(loss), strict=True), color="C0", label="loss")
    axes.set(xlabel="step", ylabel="loss", title=title, yscale="log")
    if validation:
        right = axes.twinx()
        right.plot(*zip(*validation, strict=True), color="C1", label="validation")
        right.set_ylabel("validation")
    figure.legend(loc="outside upper right")
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=120)


def _smoothed(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Mean over a window of a twentieth of the points."""
    half = max(1, len(points) // 40)
    result = []
    for i, (step, _) in enumerate(points):
        window = [value for _, value in points[max(0, i - half) : i + half + 1]]
        result.append((step, sum(window) / len(window)))
    return result
