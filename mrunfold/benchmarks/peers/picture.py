"""A picture of `bench peers`: one case by every method, and its errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.benchmarks.peers.cases import Case
from mrunfold.benchmarks.peers.rows import PeerRow
from mrunfold.benchmarks.peers.run import Plan, file_of, reconstructed
from mrunfold.benchmarks.peers.settings import PEERS
from mrunfold.benchmarks.quality.scans import CLASSICAL, GRID
from mrunfold.figures import new_figure
from mrunfold.io.atomic import atomic_path

__all__ = ["write_picture"]

GAIN = 5
WIDEST = 9  # images of a band


def write_picture(path: Path, cases: Sequence[Case], rows: Sequence[PeerRow], plan: Plan) -> None:
    """Write a PNG of an image's cases in bands: images above, errors ×5 below, each as its row was made.

    Of ours the mean and one draw, of a sampler one draw with its swept setting, else with its published one.
    """
    bands: list[tuple[Case, list[tuple[str, np.ndarray]]]] = []
    for case in cases:
        columns = [(f"reference, {case.task}", case.truth), *_columns(case, rows, plan)]
        lines = -(-len(columns) // WIDEST)
        each = -(-len(columns) // lines)
        bands += [(case, columns[n : n + each]) for n in range(0, len(columns), each)]
    wide = max(len(columns) for _, columns in bands)
    height, width = cases[0].truth.shape[-2:]
    size = (1.7 * wide, 2 * len(bands) * (1.7 * height / width + 0.3))
    axes = new_figure(figsize=size, dpi=90, layout="tight").subplots(2 * len(bands), wide, squeeze=False)
    for empty in axes.flat:
        empty.set_axis_off()
    for (case, columns), above, below in zip(bands, axes[::2], axes[1::2], strict=True):
        white = float(np.percentile(case.truth, 99.5)) if len(case.truth) == 1 else 1.0
        for (name, image), image_axis, error_axis in zip(columns, above, below, strict=False):
            reference = image is case.truth
            _show(
                image_axis, image / white, name if reference else f"{name}, {_decibels(case, image):.1f} dB"
            )
            error = GAIN * np.abs(image - case.truth) / white
            _show(error_axis, error, "" if reference else f"error ×{GAIN}")
    with atomic_path(path) as part:
        axes[0, 0].figure.savefig(part, format="png", metadata={"Software": None})


def _columns(case: Case, rows: Sequence[PeerRow], plan: Plan) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the title and image of each row of the case that is shown."""
    mine = [row for row in rows if (row.data, row.image, row.task) == (case.data, case.image, case.task)]
    for row in mine:
        swept = any((other.method, other.setting) == (row.method, "swept") for other in mine)
        if row.method in PEERS and row.setting != "swept" and swept:
            continue
        name = row.method
        if name == "unfold" or plan.trained(name, row.setting) is not None:
            name = f"{name}, {row.setting.replace('draws', 'one draw').replace('minutes', 'min')}"
        yield name.replace("l1_wavelet", "L1-wavelet"), _image(case, row, plan)


def _image(case: Case, row: PeerRow, plan: Plan) -> np.ndarray:
    parameters: dict[str, Any]
    trained = plan.trained(row.method, row.setting)
    if trained is not None:
        parameters = file_of(trained)
    elif row.method in PEERS:
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
    axis.imshow(
        shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()
