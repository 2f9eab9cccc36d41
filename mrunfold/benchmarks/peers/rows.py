"""What `bench peers` keeps: a row of each image, task, method and setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrunfold.benchmarks import store

__all__ = ["PeerRow", "load", "merged", "row_of", "save", "told"]


@dataclass(frozen=True)
class PeerRow:
    """One image, task, method and setting: scores of the mean of its draws, and of the first of them alone.

    setting: "published", "swept" (the best on the tuning data), a trial of the sweep, of ours "mean" and
    "draws", of a learned network the minutes of its training; psnr, ssim, lpips: of the mean, data range the
    target's maximum, 1 for photographs; one: PSNR and LPIPS of one draw; evaluations, seconds: of all draws,
    ours with its mean; coverage, crps: of the 90 % interval, and the score in % of the data range, inside the
    object, None where too little was drawn;
    made_by: parameters; prior: the first 12 letters of its sha256, of samplers of others alone.
    """

    data: str
    image: str
    task: str
    method: str
    setting: str
    size: str
    draws: int
    psnr: float
    ssim: float
    lpips: float | None
    one: tuple[float | None, float | None]
    coverage: float | None
    crps: float | None
    evaluations: int
    seconds: float
    threads: int
    made_by: str
    prior: str | None = None

    @property
    def cell(self) -> tuple[Any, ...]:
        """What it is a measurement of, whatever it was made by."""
        return self.data, self.image, self.task, self.method, self.setting

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this row from the others of a comparison."""
        return *self.cell, self.size, self.draws, self.made_by, self.prior


def merged(rows: Sequence[PeerRow], earlier: Sequence[PeerRow]) -> list[PeerRow]:
    """Return the rows, and those of an earlier run that they do not replace."""
    return store.merged(rows, earlier, lambda row: row.cell)


def save(rows: Sequence[PeerRow], path: Path) -> None:
    """Write the rows, see `store.save_rows`."""
    store.save_rows(rows, path, **store.about("peers"))


def load(path: Path) -> list[PeerRow]:
    """Read the rows that `save` wrote, see `store.load_rows`."""
    return store.load_rows(path, row_of, "peers")[0]


def row_of(**values: Any) -> PeerRow:
    """Return the row of what JSON holds of it."""
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return PeerRow(**given)


def told(row: PeerRow) -> str:
    """Return a line about a row."""
    seen = "" if row.lpips is None else f", LPIPS {row.lpips:.3f}"
    score = "" if row.crps is None else f", CRPS {row.crps:.3f} %"
    return (
        f"{row.data}/{row.image} {row.task} {row.method}, {row.setting}: {row.psnr:.2f} dB{seen}{score}, "
        f"{row.evaluations} evaluations, {row.seconds:.1f} s"
    )
