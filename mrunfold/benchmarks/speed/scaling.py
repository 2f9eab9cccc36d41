"""`mrunfold bench scaling`: seconds a slice against matrix size, coils and slices in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.head import head_block, head_problem
from mrunfold.benchmarks.measured import least_seconds, rows_markdown
from mrunfold.benchmarks.store import about
from mrunfold.coils import maps_from_block
from mrunfold.figures import new_figure
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.weights import load_weights

__all__ = ["SIZES", "exponent", "markdown", "measure", "verdict", "write_picture"]

SIZES = {"matrix": (128, 192, 256, 320, 384), "coils": (1, 2, 4, 8, 16, 32), "slices": (1, 2, 4, 8)}
# What the work is proportional to, if the curve is linear.
AXES = {"matrix": "pixels", "coils": "coils", "slices": "slices in a batch"}


def measure(
    sizes: dict[str, Sequence[int]] | None = None,
    coils: int = 8,
    size: int = 256,
    repeats: int = 4,
    weights: str | None = None,
    report: Callable[[str], None] = lambda line: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Return points and exponents of each curve of `SIZES`; what is not on the axis is `coils`×`size`×`size`.

    mean: one network evaluation, maps given, all coils kept, Poisson R = 8; maps: ESPIRiT from 24×24 samples.
    The seconds of a batch are of all its slices; the least of the repeats counts.
    """
    network = load_weights(weights)[0].to(device)
    curves: dict[str, Any] = {}
    for axis, values in (sizes or SIZES).items():
        points = []
        for value in values:
            given: dict[str, Any] = {"coils": coils, "size": size, "slices": None}
            given["size" if axis == "matrix" else axis] = value
            problem = head_problem(**given).to(device)
            with torch.inference_mode(), convolutions_in(choose("auto", device), device):
                mean = least_seconds(partial(network.mean, problem), repeats)
            point = {"value": value, "mean": mean}
            if axis != "slices" and given["coils"] > 1:
                point["maps"] = _maps_seconds(given["coils"], given["size"], repeats)
            points.append(point)
            report(f"{axis} {value}: mean {mean:.3f} s")
        curves[axis] = {"points": points, "exponent": _exponents(axis, points)}
    return {**about("scaling"), "coils": coils, "size": size, "device": device, "curves": curves}


def _maps_seconds(coils: int, size: int, repeats: int) -> float:
    block = head_block(coils, size)
    return least_seconds(lambda: maps_from_block(block, (size, size)), repeats)


def _exponents(axis: str, points: Sequence[dict[str, float]]) -> dict[str, float]:
    found = {}
    for name in ("mean", "maps"):
        held = [(p["value"], p[name]) for p in points if name in p]
        if len(held) > 1:
            work = [float(v * v if axis == "matrix" else v) for v, _ in held]
            found[name] = exponent(work, [seconds for _, seconds in held])
    return found


def exponent(work: Sequence[float], seconds: Sequence[float]) -> float:
    """Return p of the least-squares fit seconds = c·workᵖ in logarithms."""
    return float(np.polyfit(np.log(work), np.log(seconds), 1)[0])


def verdict(p: float) -> str:
    """Return what an exponent says, within a tenth."""
    if abs(p - 1) <= 0.1:
        return "linear"
    return "less than linear" if p < 1 else "more than linear"


def markdown(found: dict[str, Any]) -> str:
    """Return the curves as a Markdown table, a row each."""
    rows = []
    for axis, curve in found["curves"].items():
        for name, p in curve["exponent"].items():
            held = [point for point in curve["points"] if name in point]
            rows.append(
                [
                    {"mean": "reconstruction", "maps": "coil maps"}[name],
                    AXES[axis],
                    " · ".join(str(point["value"]) for point in held),
                    " · ".join(f"{point[name]:.2f}" for point in held),
                    f"{p:.2f}",
                    verdict(p),
                ]
            )
    return rows_markdown(["", "against", "values", "s", "exponent", ""], rows)


def write_picture(found: dict[str, Any], path: Path) -> None:
    """Draw the curves, logarithmic both ways, with a line of exponent 1 through the last point of each."""
    from mrunfold.io.atomic import atomic_path

    figure = new_figure(figsize=(10, 3.4), dpi=90, layout="tight")
    for ax, (axis, curve) in zip(figure.subplots(1, len(found["curves"]), squeeze=False)[0],
                                 found["curves"].items(), strict=True):  # fmt: skip
        for name, colour in (("mean", "C0"), ("maps", "C1")):
            held = [(p["value"], p[name]) for p in curve["points"] if name in p]
            if not held:
                continue
            values, seconds = np.array([v for v, _ in held], float), np.array([s for _, s in held])
            label = {"mean": "reconstruction", "maps": "coil maps"}[name]
            ax.loglog(values, seconds, "o-", color=colour, label=label)
            power = 2 if axis == "matrix" else 1
            ax.loglog(values, seconds[-1] * (values / values[-1]) ** power, ":", color=colour, alpha=0.6)
        ax.set_xticks(values, [f"{v:g}" for v in values])
        ax.minorticks_off()
        ax.set_xlabel({"matrix": "matrix size N (N×N)"}.get(axis, AXES[axis]))
        ax.set_ylabel("s" if axis != "slices" else "s, whole batch")
        ax.legend(frameon=False, fontsize=8)
    with atomic_path(path) as part:
        figure.savefig(part)
