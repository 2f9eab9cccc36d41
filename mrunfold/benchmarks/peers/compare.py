"""`bench peers` from files and folders to a JSON file and its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrunfold.benchmarks.datasets import full_slices
from mrunfold.benchmarks.peers import cases, rows, table
from mrunfold.benchmarks.peers.run import Plan, measure
from mrunfold.benchmarks.peers.settings import limited
from mrunfold.benchmarks.store import read_measured
from mrunfold.metrics.lpips import Lpips

__all__ = ["Cases", "compare"]


@dataclass(frozen=True)
class Cases:
    """Slices or photographs (`images` at most of each path, cut to `crop`), and their masks or tasks."""

    paths: Sequence[Path]
    images: int | None
    crop: int | None
    masks: Sequence[tuple[str, float]] = ()
    tasks: Sequence[str] = cases.TASKS

    def made(self, photos: bool, lpips: Lpips | None, shake: Path) -> list[Callable[[], cases.Case]]:
        """Return what makes each case; InputError for a task that does not exist."""
        found: list[Callable[[], cases.Case]] = []
        for path in self.paths:
            if photos:
                found += cases.photographs(path, self.tasks, self.images, self.crop, lpips, shake)
                continue
            slices = list(full_slices(path))
            if self.images is not None and self.images < len(slices):
                slices = [slices[i] for i in np.linspace(0, len(slices) - 1, self.images).round().astype(int)]
            found += cases.scans(slices, self.masks, self.crop)
        return found


def compare(
    tuning: Cases, shown: Cases, plan: Plan, features: Path | None, out: Path, say: Callable[[str], None]
) -> None:
    """Measure what is not in the file `out` yet, write it there row by row, and say rows and tables."""
    for name in plan.peers:
        limited(name, {}, plan.evaluations)
    lpips = None if features is None else Lpips(features)
    earlier = rows.load(out) if out.exists() else []
    so_far: list[rows.PeerRow] = []
    kept = {row.key for row in earlier}

    def report(row: rows.PeerRow) -> None:
        so_far.append(row)
        if row.key not in kept:
            rows.save(rows.merged(so_far, earlier), out)
            say(rows.told(row))

    shake = out.with_name(out.stem + "-shake.png")
    trials, problems = (given.made(plan.photographs, lpips, shake) for given in (tuning, shown))
    measure(trials, problems, plan, report, earlier)
    say("\n" + "\n".join(table.markdowns(read_measured(out, "peers"))))
