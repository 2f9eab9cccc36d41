"""`bench peers` from files and folders to a JSON file and its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from mrunfold.benchmarks.datasets import FullSlice, full_slices
from mrunfold.benchmarks.peers import cases, rows, table
from mrunfold.benchmarks.peers.picture import write_picture
from mrunfold.benchmarks.peers.run import Plan, measure
from mrunfold.benchmarks.peers.settings import limited
from mrunfold.benchmarks.store import read_measured
from mrunfold.errors import InputError
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

    def made(
        self, photos: bool, lpips: Lpips | None, shake: Path, tuned: Cases | None = None
    ) -> list[Callable[[], cases.Case]]:
        """Return what makes each case; slices of `tuned` are left out before the others are spread.

        InputError for a task that does not exist, and for folders of photographs that are tuned on.
        """
        found: list[Callable[[], cases.Case]] = []
        for path in self.paths:
            if photos:
                if tuned is not None and path.resolve() in [other.resolve() for other in tuned.paths]:
                    raise InputError(f"{path} is tuned on; give other photographs as --tune")
                found += cases.photographs(path, self.tasks, self.images, self.crop, lpips, shake)
                continue
            found += cases.scans(self._slices(path, tuned), self.masks, self.crop, lpips)
        return found

    def _slices(self, path: Path, tuned: Cases | None = None) -> list[FullSlice]:
        """Return `images` slices of a path, spread over it, without those that are tuned on."""
        slices = list(full_slices(path))
        if tuned is not None:
            learned = {piece.name for other in tuned.paths for piece in tuned._slices(other)}
            slices = [piece for piece in slices if piece.name not in learned]
        if self.images is None or self.images >= len(slices):
            return slices
        return [slices[i] for i in np.linspace(0, len(slices) - 1, self.images).round().astype(int)]


def compare(
    tuning: Cases,
    shown: Cases,
    plan: Plan,
    features: Path | None,
    out: Path,
    say: Callable[[str], None],
    picture: Path | None = None,
) -> None:
    """Measure what is not in the file `out` yet, write it there row by row, and say rows and tables.

    picture: PNG of the first image of `shown`, under each of its masks or tasks, see `write_picture`.
    """
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
    trials = tuning.made(plan.photographs, lpips, shake)
    problems = shown.made(plan.photographs, lpips, shake, tuned=tuning)
    measure(trials, problems, plan, report, earlier)
    say("\n" + "\n".join(table.markdowns(read_measured(out, "peers"))))
    if picture is not None:
        first = problems[0]()
        others = takewhile(lambda case: case.image == first.image, (make() for make in problems[1:]))
        write_picture(picture, [first, *others], so_far, plan)
