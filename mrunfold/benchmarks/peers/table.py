"""What `bench peers` measured, as tables: each sampler and ours, then ours over the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.peers.rows import PeerRow, row_of
from mrunfold.benchmarks.peers.settings import PEERS
from mrunfold.evaluation.bootstrap import bootstrap_means

__all__ = ["gains", "markdowns"]

RESAMPLES, SEED = 10_000, 0
FIELDS = {
    "psnr": "PSNR of the mean, dB",
    "one": "PSNR of one draw, dB",
    "lpips": "LPIPS of one draw",
    "lpips of the mean": "LPIPS of the mean",
}
HEAD = ["data", "task", "method", "n", "draws", "PSNR", "SSIM", "LPIPS", "one draw", "its LPIPS", "coverage"]
HEAD += ["CRPS, %", "evaluations", "s"]


def markdowns(found: dict[str, Any]) -> list[str]:
    """Return three tables of a file's rows: scores, ours over the best sampler, and the sweep."""
    rows = [row_of(**row) for row in found["rows"]]
    return [_scores(rows), _gains(rows), _sweep(rows)]


def _measured(rows: Sequence[PeerRow]) -> list[PeerRow]:
    return [row for row in rows if not row.setting.startswith("trial")]


def _scores(rows: Sequence[PeerRow]) -> str:
    lines = []
    groups = dict.fromkeys((r.data, r.task, r.method, r.setting) for r in _measured(rows))
    for data, task, method, setting in sorted(groups, key=lambda g: (g[0], g[1])):
        mine = [r for r in rows if (r.data, r.task, r.method, r.setting) == (data, task, method, setting)]
        lines.append(
            [
                data, task, f"{method}, {setting}", str(len(mine)), str(mine[0].draws or ""),
                _cell([r.psnr for r in mine], ".2f"), _cell([r.ssim for r in mine], ".4f"),
                _cell([r.lpips for r in mine], ".3f"), _cell([r.one[0] for r in mine], ".2f"),
                _cell([r.one[1] for r in mine], ".3f"), _cell([r.coverage for r in mine], ".3f"),
                _cell([r.crps for r in mine], ".3f"), _cell([r.evaluations for r in mine], ".0f"),
                f"{np.median([r.seconds for r in mine]):.1f}",
            ]
        )  # fmt: skip
    return rows_markdown(HEAD, lines)


def _cell(values: Sequence[float | None], form: str) -> str:
    there = [v for v in values if v is not None]
    return format(float(np.mean(there)), form) if there and len(there) == len(values) else ""


Pair = dict[str, tuple[float, float]]  # by image: ours, and the sampler's


def gains(rows: Sequence[PeerRow], field: str = "psnr") -> list[tuple[str, str, str, list[float]]]:
    """Return (data, task, best sampler, ours less it, image by image) of each data set and task.

    field: one of FIELDS: PSNR or LPIPS of the mean (a sampler's, of its draws), or of one draw.
    The best is the sampler and setting with the best mean over all images of ours.
    """
    return [
        (data, task, best, [ours - theirs for _, (ours, theirs) in sorted(pairs.items())])
        for data, task, best, pairs in _compared(rows, field)
    ]


def _compared(rows: Sequence[PeerRow], field: str) -> list[tuple[str, str, str, Pair]]:
    lines = []
    for data, task in sorted(dict.fromkeys((r.data, r.task) for r in _measured(rows))):
        mine = [r for r in _measured(rows) if (r.data, r.task) == (data, task)]
        ours = _values([r for r in mine if (r.method, r.setting) == _ours(field)], field)
        rivals = {
            f"{method}, {setting}": _values(
                [r for r in mine if (r.method, r.setting) == (method, setting)], field
            )
            for method, setting in dict.fromkeys((r.method, r.setting) for r in mine if r.method in PEERS)
        }
        whole = {name: values for name, values in rivals.items() if values.keys() == ours.keys()}
        if not whole or not ours:
            continue
        sign = -1 if field.startswith("lpips") else 1
        best = max(whole, key=lambda name: sign * float(np.mean(list(whole[name].values()))))
        lines.append((data, task, best, {image: (ours[image], whole[best][image]) for image in ours}))
    return lines


def _ours(field: str) -> tuple[str, str]:
    return ("unfold", "draws" if field in ("one", "lpips") else "mean")


def _values(rows: Sequence[PeerRow], field: str) -> dict[str, float]:
    """Return what is compared, by image; images without it are left out."""
    value = {
        "psnr": lambda r: r.psnr,
        "one": lambda r: r.one[0],
        "lpips": lambda r: r.one[1],
        "lpips of the mean": lambda r: r.lpips,
    }[field]
    found = {row.image: value(row) for row in rows}
    return {image: value for image, value in found.items() if value is not None}


def _gains(rows: Sequence[PeerRow]) -> str:
    lines = []
    for field, unit in FIELDS.items():
        found = _compared(rows, field)
        for data, task, best, pairs in found:
            lines.append([unit, data, task, best, str(len(pairs)), *_interval(field, pairs)])
        if len(found) > 1:
            images: dict[str, list[tuple[float, float]]] = {}
            for data, _, _, pairs in found:
                for image, pair in pairs.items():
                    images.setdefault(f"{data}/{image}", []).append(pair)
            # The tasks of an image are not independent: it is drawn as one.
            each = {image: (_mean(p, 0), _mean(p, 1)) for image, p in images.items()}
            lines.append([unit, "all", "all", "the best of each", str(len(each)), *_interval(field, each)])
    head = ["of", "data", "task", "best sampler", "n", "ours less it", "95 % interval", "%"]
    return rows_markdown(head, lines)


def _mean(pairs: Sequence[tuple[float, float]], which: int) -> float:
    return float(np.mean([pair[which] for pair in pairs]))


def _interval(field: str, pairs: Pair) -> list[str]:
    """Return ours less theirs, its interval over images, and of LPIPS what share of theirs that is."""
    ours, theirs = np.array(list(pairs.values())).T
    share = f"{100 * (ours.mean() / theirs.mean() - 1):+.1f}" if field.startswith("lpips") else ""
    if len(pairs) < 3:
        return [f"{np.mean(ours - theirs):+.3f}", "too few", share]
    found = bootstrap_means(list(ours - theirs), draws=RESAMPLES, seed=SEED)
    return [f"{np.mean(ours - theirs):+.3f}", f"{found.low:+.3f} to {found.high:+.3f}", share]


def _sweep(rows: Sequence[PeerRow]) -> str:
    trials = [row for row in rows if row.setting.startswith("trial")]
    tasks = list(dict.fromkeys((r.data, r.task) for r in trials))
    lines = []
    for method, setting in dict.fromkeys((r.method, r.setting) for r in trials):
        mine = [r for r in trials if (r.method, r.setting) == (method, setting)]
        words = setting.removeprefix("trial ").strip("{}").replace('"', "") or "as published"
        scores = [_cell([r.psnr for r in mine if (r.data, r.task) == task], ".2f") for task in tasks]
        lines.append([method, words, *scores])
    head = [f"{data}, {task}" for data, task in tasks]
    return rows_markdown(["method", "setting", *head], lines)
