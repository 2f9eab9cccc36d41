"""What `bench restore` measured, as tables: scores of each task and method, and the bars they are held to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrunfold.benchmarks.photographs.restore import GRIDS, SEEN, UNSEEN
from mrunfold.benchmarks.photographs.rows import RestoreRow, RestoreSpeed

__all__ = ["claims", "markdown", "swap_gains"]

METHODS = (*GRIDS, "unfold", "unfold sample")


def _mean(rows: Sequence[RestoreRow], field: str) -> float | None:
    values = [getattr(r, field) for r in rows]
    return None if not values or None in values else float(np.mean(values))


def markdown(rows: Sequence[RestoreRow], speed: RestoreSpeed | None = None) -> str:
    """Return a line for each data set, task and method, means over its images, and below it the speed."""
    text = ["| data | task | method | n | PSNR | SSIM | LPIPS | evaluations | s |", "|" + "---|" * 9]
    order = [*SEEN, *UNSEEN]
    for data in dict.fromkeys(r.data for r in rows):
        for task in sorted({r.task for r in rows if r.data == data}, key=order.index):
            for method in METHODS:
                mine = [r for r in rows if (r.data, r.task, r.method) == (data, task, method)]
                if not mine:
                    continue
                lpips = _mean(mine, "lpips")
                cells = [
                    data,
                    task if task in SEEN else f"{task} (unseen)",
                    method,
                    str(len(mine)),
                    f"{_mean(mine, 'psnr'):.2f}",
                    f"{_mean(mine, 'ssim'):.4f}",
                    "" if lpips is None else f"{lpips:.4f}",
                    f"{_mean(mine, 'evaluations'):.0f}",
                    f"{np.median([r.seconds for r in mine]):.2f}",
                ]
                text.append("| " + " | ".join(cells) + " |")
    if speed is not None:
        text += ["", f"{speed.line}."]
    return "\n".join(text) + "\n"


def _gain(rows: Sequence[RestoreRow], task: str, rival: str) -> float | None:
    """Return the mean PSNR of unfold over that of a rival, over the images of a task that both have."""
    ours = {(r.data, r.image): r.psnr for r in rows if (r.task, r.method) == (task, "unfold")}
    theirs = {(r.data, r.image): r.psnr for r in rows if (r.task, r.method) == (task, rival)}
    both = sorted(ours.keys() & theirs.keys())
    return float(np.mean([ours[k] - theirs[k] for k in both])) if both else None


def swap_gains(rows: Sequence[RestoreRow]) -> list[tuple[str, float, float]]:
    """Return (unseen task, its gain over TV in dB, mean gain over TV of its trained neighbours)."""
    found = []
    for task, neighbours in UNSEEN.items():
        own = _gain(rows, task, "tv_isotropic")
        near = [g for n in neighbours if (g := _gain(rows, n, "tv_isotropic")) is not None]
        if own is not None and near:
            found.append((task, own, float(np.mean(near))))
    return found


def claims(rows: Sequence[RestoreRow]) -> str:
    """Return in words what the rows say of the bars: gains, LPIPS of one sample, the swap, time."""
    lines = []
    for rival in GRIDS:
        gains = [g for task in SEEN if (g := _gain(rows, task, rival)) is not None]
        if gains:
            lines.append(f"unfold over {rival}: {np.mean(gains):+.2f} dB, mean of {len(gains)} trained tasks")
    for task in dict.fromkeys(r.task for r in rows if r.method == "unfold sample"):
        mean, one = (
            _mean([r for r in rows if (r.task, r.method) == (task, m)], "lpips")
            for m in ("unfold", "unfold sample")
        )
        if mean is not None and one is not None:
            lines.append(f"LPIPS on {task}: one sample {one:.4f}, mean {mean:.4f}")
    for task, own, near in swap_gains(rows):
        lines.append(f"unseen {task}: {own:+.2f} dB over TV, its trained neighbours {near:+.2f} dB")
    times = {m: [r.seconds for r in rows if r.method == m and r.task in SEEN] for m in METHODS}
    if times["unfold"]:
        line = f"unfold (mean): {np.median(times['unfold']):.2f} s an image"
        if times["plug_and_play"]:
            ratio = np.mean(times["plug_and_play"]) / np.mean(times["unfold"])
            line += f", plug_and_play takes {ratio:.1f}× as long"
        lines.append(line)
    return "\n".join(lines)
