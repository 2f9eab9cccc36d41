"""A picture of `bench peers`: one case by every method, and its errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.benchmarks.peers.cases import Case
from mrunfold.benchmarks.peers.rows import PeerRow
from mrunfold.benchmarks.peers.run import Plan, reconstructed
from mrunfold.benchmarks.peers.settings import PEERS
from mrunfold.benchmarks.quality.scans import CLASSICAL, GRID
from mrunfold.figures import new_figure
from mrunfold.io.atomic import atomic_path

__all__ = ["write_picture"]

GAIN = 5


def write_picture(path: Path, case: Case, rows: Sequence[PeerRow], plan: Plan) -> None:
    """Write a PNG of a case: images above, errors ×5 below; each as the rows say that it was made.

    Of ours the mean and one draw, of a sampler one draw with its swept setting, else with its published one.
    """
    mine = [row for row in rows if (row.data, row.image, row.task) == (case.data, case.image, case.task)]
    columns = [("reference", case.truth)]
    for row in mine:
        swept = any((other.method, other.setting) == (row.method, "swept") for other in mine)
        if row.method in PEERS and row.setting != "swept" and swept:
            continue
        name = row.method if row.method != "unfold" else f"unfold, {row.setting.replace('draws', 'one draw')}"
        columns.append((name.replace("l1_wavelet", "L1-wavelet"), _image(case, row, plan)))
    height, width = case.truth.shape[-2:]
    size = (1.7 * len(columns), 2 * (1.7 * height / width + 0.3))
    axes = new_figure(figsize=size, dpi=90, layout="tight").subplots(2, len(columns))
    white = float(np.percentile(case.truth, 99.5)) if len(case.truth) == 1 else 1.0
    for (name, image), above, below in zip(columns, *axes, strict=True):
        title = name if name == "reference" else f"{name}, {_decibels(case, image):.1f} dB"
        _show(above, image / white, title)
        _show(
            below, GAIN * np.abs(image - case.truth) / white, "" if name == "reference" else f"error ×{GAIN}"
        )
    with atomic_path(path) as part:
        axes[0, 0].figure.savefig(part, format="png", metadata={"Software": None})


def _image(case: Case, row: PeerRow, plan: Plan) -> np.ndarray:
    parameters: dict[str, Any]
    if row.method in PEERS:
        parameters = json.loads(row.made_by)
    elif row.method in CLASSICAL:
        parameters = {"grid": GRID}
    else:
        parameters = {"weights": plan.weights} | ({"samples": row.draws} if row.draws else {})
    _, mean, first = reconstructed(case, row.method, parameters, row.draws)
    return case.shown(first if row.draws else mean)


def _decibels(case: Case, image: np.ndarray) -> float:
    return float(20 * np.log10(case.peak) - 10 * np.log10(np.mean((image - case.truth) ** 2)))


def _show(axis: Any, image: np.ndarray, title: str) -> None:
    shown = np.moveaxis(image.clip(0, 1), 0, -1)
    axis.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()
