"""`mrunfold bench seen`: what the learned method gains on images it was trained on, and on others."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mrunfold.benchmarks.datasets import FullSlice, scanned
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.quality.scans import GRID, Row, measure
from mrunfold.benchmarks.store import about
from mrunfold.protocols import TrainingProtocol
from mrunfold.training.chance import smooth_field
from mrunfold.training.images import ImageBank

__all__ = ["MASKS", "markdown", "measure_seen", "training_slices"]

MASKS = (("random", 4.0), ("equispaced", 4.0), ("poisson", 8.0))
HELD_BACK = ", held back"
PHASE = 0.5  # radians: standard deviation of the slow phase that the training images have none of


def training_slices(
    data: Path, protocol: TrainingProtocol, each: int, held_back: bool = False
) -> Iterator[FullSlice]:
    """Yield `each` slices of each set of a protocol's images, scanned by 8 simulated coils, noise of 1 %.

    held_back: of the subjects that the sets keep from training, of the sets that keep any.
    """
    sets = [spec for spec in protocol.images if spec.held_back or not held_back]
    bank = ImageBank.load(data, sets, held_back=held_back)
    for spec, slices in zip(sets, bank.sets, strict=True):
        own = ImageBank((slices,), (1.0,))
        for n in range(each):
            generator = torch.Generator().manual_seed(n)
            image = own.draw(generator)
            phase = PHASE * smooth_field((image.shape[0], image.shape[1]), 4, generator)
            name = (spec.pattern or spec.reader) + (HELD_BACK if held_back else "")
            yield scanned(torch.polar(image.clamp_min(0), phase).numpy(), f"{name}#{n}")


def measure_seen(
    slices: Sequence[FullSlice],
    weights: str | None = None,
    kinds: Sequence[tuple[str, float]] = MASKS,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Return, for each set of images, PSNR of ours above L1-wavelet at its best λ, averaged over its slices.

    As `bench quality`: maps, scale and σ_y from the undersampled data, one mask of each kind.
    """

    def said(row: Row) -> None:
        if row.method == "unfold":
            report(f"{row.data}, {row.mask} R={row.accel:g}: {row.psnr:.2f} dB")

    rows = measure(slices, kinds, (0,), weights=weights, classical=("l1_wavelet",), grid=GRID, report=said)
    by: dict[tuple[str, str, str, float], float] = {
        (r.method, r.data, r.mask, r.accel): r.psnr for r in rows if r.method != "zero_filled"
    }
    sets: dict[str, list[str]] = {}
    for full in slices:
        sets.setdefault(full.name.rpartition("#")[0] or full.name.partition("/")[0], []).append(full.name)
    found = []
    for name, members in sets.items():
        gains = {
            f"{kind} {accel:g}": statistics.mean(
                by["unfold", one, kind, accel] - by["l1_wavelet", one, kind, accel] for one in members
            )
            for kind, accel in kinds
        }
        found.append({"data": name, "n": len(members), "gains": gains})
    made_by = next(row.made_by for row in rows if row.method == "unfold")
    return {**about("seen"), "made_by": made_by, "rows": found}


def markdown(found: dict[str, Any]) -> str:
    """Return the gains as a Markdown table, a row a set, and how much less held-back subjects gain.

    The last row is the mean over the sets that hold subjects back: seen ones less these.
    """
    kinds = list(found["rows"][0]["gains"])
    rows = [
        [row["data"], str(row["n"]), *(f"{row['gains'][wanted]:+.2f}" for wanted in kinds)]
        for row in found["rows"]
    ]
    gains = {row["data"]: row["gains"] for row in found["rows"]}
    both = [name for name in gains if f"{name}{HELD_BACK}" in gains]
    if both:
        off = [
            statistics.mean(gains[name][kind] - gains[f"{name}{HELD_BACK}"][kind] for name in both)
            for kind in kinds
        ]
        rows.append(["seen less held back", str(len(both)), *(f"{value:+.2f}" for value in off)])
    return rows_markdown(["images", "n", *kinds], rows)
