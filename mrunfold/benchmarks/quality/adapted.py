"""`mrunfold bench adapt`: what fine-tuning on an undersampled slice alone gains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks import store
from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.quality.judge import Judge
from mrunfold.errors import InputError
from mrunfold.masks import draw
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.weights import load_weights
from mrunfold.operators import fft2c, ifft2c
from mrunfold.pipeline.adapt import adapt_problems
from mrunfold.prepare import build_problem
from mrunfold.training.adapt import AdaptSettings

__all__ = ["AdaptRow", "cut", "load", "markdown", "measure", "save"]


@dataclass(frozen=True)
class AdaptRow:
    """One slice under one mask, alone: figures before and after, equal where nothing better was found.

    psnr, rss: as `bench quality`, dB; held: error of the kept-out part; steps: that were taken; seconds: of
    the wall, and of the process on all its cores; shifted: whether the scan is unlike those of training.
    """

    data: str
    shifted: bool
    size: tuple[int, int]
    mask: str
    accel: float
    part: str
    psnr: tuple[float, float]
    rss: tuple[float, float]
    held: tuple[float, float]
    steps: int
    seconds: tuple[float, float]
    weights: str
    threads: int

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this row from the others."""
        return self.data, self.mask, self.accel, self.part, tuple(self.size), self.weights


def cut(full: FullSlice, size: int) -> FullSlice:
    """Return the slice with its field of view cut to the middle `size` pixels of each axis, where larger."""
    images = ifft2c(torch.from_numpy(np.ascontiguousarray(full.kspace)))
    height, width = (min(n, size) for n in images.shape[-2:])
    y, x = (n // 2 - m // 2 for n, m in zip(images.shape[-2:], (height, width), strict=True))
    kspace = fft2c(images[..., y : y + height, x : x + width].contiguous()).numpy()
    matrix = (height, width)
    header = replace(full.header, matrix=matrix, crop=matrix, unoversampled=height)
    return replace(full, kspace=kspace, header=header)


def measure(
    slices: Iterable[FullSlice],
    kinds: Sequence[tuple[str, float]],
    how: AdaptSettings,
    shifted: bool,
    weights: str | None = None,
    report: Callable[[AdaptRow], None] = lambda row: None,
    done: Sequence[AdaptRow] = (),
) -> list[AdaptRow]:
    """Return a row for each slice and mask, seed 0; those in `done` are taken as they are.

    The network learns from the undersampled slice alone; the full data score what came of it.
    """
    network, facts = load_weights(weights)
    known = {row.key: row for row in done}
    rows = []
    for full in slices:
        for kind, accel in kinds:
            size = (full.kspace.shape[-2], full.kspace.shape[-1])
            key = (full.name, kind, accel, how.part, size, facts["sha256"][:12])
            row = known.get(key) or _one(full, kind, accel, how, network, shifted, facts["sha256"][:12])
            if row is None:
                continue
            rows.append(row)
            report(row)
    return rows


def _one(
    full: FullSlice,
    kind: str,
    accel: float,
    how: AdaptSettings,
    network: PosteriorDenoiser,
    shifted: bool,
    weights: str,
) -> AdaptRow | None:
    size = (full.kspace.shape[-2], full.kspace.shape[-1])
    mask = draw(kind, size, accel, seed=0)
    try:
        problem = build_problem(full.kspace, full.header, mask, acquired=np.ones(size, bool))
        began, used = time.perf_counter(), time.process_time()
        run, found = adapt_problems([problem], network, how)
    except InputError as error:  # too small a centre, too few lines, mostly noise: said, and left out
        print(f"{full.name} {kind} R={accel:g}: {error}", flush=True)
        return None
    seconds = (time.perf_counter() - began, time.process_time() - used)
    judge = Judge.of(full.kspace, problem)
    better = found.state.best < found.state.before
    images = []
    for one in (network, run.best if better else network):
        with torch.no_grad(), convolutions_in(choose(how.precision, "cpu"), "cpu"):
            images.append(one.mean(problem))
    before, after = ((judge.psnr(x), judge.rss(x)) for x in images)
    return AdaptRow(
        full.name, shifted, size, kind, accel, how.part, (before[0], after[0]), (before[1], after[1]),
        (found.state.before, found.state.best), found.state.step, seconds, weights,
        torch.get_num_threads(),
    )  # fmt: skip


def save(rows: Sequence[AdaptRow], path: Path, earlier: Sequence[AdaptRow] = ()) -> None:
    """Write the rows, and those of an earlier run that they do not replace."""
    store.save_rows(store.merged(rows, earlier, lambda row: row.key), path, **store.about("adapt"))


def load(path: Path) -> list[AdaptRow]:
    """Read the rows that `save` wrote."""
    return store.load_rows(path, _row, "adapt")[0]


def _row(**values: Any) -> AdaptRow:
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return AdaptRow(**given)


def markdown(found: dict[str, Any]) -> str:
    """Return the rows of a file as a Markdown table, with means over the shifted scans and the others."""
    rows = [_row(**row) for row in found["rows"]]
    lines = []
    for row in rows:
        lines.append(
            [
                row.data, f"{row.size[0]}×{row.size[1]}", f"{row.mask} {row.accel:g}", row.part,
                f"{row.psnr[0]:.2f}", f"{row.psnr[1] - row.psnr[0]:+.2f}", f"{row.rss[1] - row.rss[0]:+.2f}",
                f"{row.held[0]:.4f} → {row.held[1]:.4f}", str(row.steps), f"{row.seconds[1] / 60:.1f}",
            ]
        )  # fmt: skip
    for name, chosen in (("shifted", True), ("others", False)):
        for part in dict.fromkeys(row.part for row in rows):
            mine = [row for row in rows if row.shifted is chosen and row.part == part]
            lines += [_mean(f"mean, {name}, n = {len(mine)}", part, mine)] if mine else []
    head = ["data", "size", "mask", "tuned", "PSNR, dB", "gain", "RSS gain", "held-out error", "steps"]
    head.append("CPU minutes")
    return rows_markdown(head, lines)


def _mean(name: str, part: str, rows: Sequence[AdaptRow]) -> list[str]:
    gains = []
    for pairs in ([row.psnr for row in rows], [row.rss for row in rows]):
        gain = np.array([after - before for before, after in pairs])
        gains.append(f"{gain.mean():+.2f} (least {gain.min():+.2f})")
    minutes = np.mean([row.seconds[1] for row in rows]) / 60
    return [name, "", "", part, "", *gains, "", "", f"{minutes:.1f}"]
