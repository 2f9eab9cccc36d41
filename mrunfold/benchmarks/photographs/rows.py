"""What `bench restore` keeps: a row of each image, task and method, and the speed of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrunfold.benchmarks import store
from mrunfold.errors import InputError

__all__ = ["RestoreRow", "RestoreSpeed", "load", "load_speed", "merged", "save"]


@dataclass(frozen=True)
class RestoreRow:
    """One image, task and method: PSNR and SSIM of all channels with data range 1, LPIPS (None without).

    parameters: of a rival, those that were best over the tuning images; made_by: what the method was given,
    so that a run that goes on knows which rows still hold; size: of the clean image, after any cut, 160x160.
    """

    data: str
    image: str
    task: str
    sigma_y: float
    method: str
    parameters: dict[str, Any]
    psnr: float
    ssim: float
    lpips: float | None
    evaluations: int
    seconds: float
    made_by: str = ""
    size: str = ""

    @property
    def cell(self) -> tuple[Any, ...]:
        """What it is a measurement of, whatever it was made by."""
        return self.data, self.image, self.task, self.method

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this row from the others of a comparison."""
        return *self.cell, self.made_by, self.size


@dataclass(frozen=True)
class RestoreSpeed:
    """Seconds for the mean of one colour image, side × side, by unfold and by plug_and_play.

    threads: of the CPU; tasks: over which seconds and plug_and_play's evaluations are means, a task's seconds
    being the median of several runs; made_by: the weights of both and the options of plug_and_play.
    """

    side: int
    threads: int
    tasks: tuple[str, ...]
    unfold: float
    plug_and_play: float
    evaluations: float
    made_by: str

    @property
    def line(self) -> str:
        """Return the seconds and their ratio in words."""
        return (
            f"{self.side}×{self.side} colour image, mean: unfold {self.unfold:.2f} s on {self.threads} cores"
            f", plug_and_play {self.plug_and_play:.2f} s ({self.evaluations:.0f} evaluations), "
            f"{self.plug_and_play / self.unfold:.1f}× as long; means of {len(self.tasks)} tasks"
        )


def merged(rows: Sequence[RestoreRow], earlier: Sequence[RestoreRow]) -> list[RestoreRow]:
    """Return the rows and those of an earlier run that no row of the same image, task and method replaces."""
    return store.merged(rows, earlier, lambda row: row.cell)


def save(rows: Sequence[RestoreRow], path: Path, speed: RestoreSpeed | None = None) -> None:
    """Write the rows, and the speed where there is one, see `store.save_rows`."""
    store.save_rows(rows, path, **({} if speed is None else {"speed": asdict(speed)}))


def load(path: Path) -> list[RestoreRow]:
    """Read the rows that `save` wrote, see `store.load_rows`."""
    return store.load_rows(path, RestoreRow, "restore")[0]


def load_speed(path: Path) -> RestoreSpeed | None:
    """Read the speed that `save` wrote, None where it was not measured; InputError where it is none."""
    speed = store.load_rows(path, RestoreRow, "restore")[1].get("speed")
    try:
        return None if speed is None else RestoreSpeed(**speed | {"tasks": tuple(speed["tasks"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a table of bench restore ({error}); choose another file") from None
