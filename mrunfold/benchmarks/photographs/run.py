"""`bench restore` from folders to a JSON file, a table and what it says of the bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrunfold.benchmarks.photographs.restore import measure, read_images, rivals_here, tasks, write_shake
from mrunfold.benchmarks.photographs.rows import RestoreRow, RestoreSpeed, load, load_speed, merged, save
from mrunfold.benchmarks.photographs.speed import colour_image, made_by, measure_speed, tuned_options
from mrunfold.benchmarks.photographs.table import claims, markdown
from mrunfold.errors import InputError, did_you_mean
from mrunfold.io.images import photos_in
from mrunfold.metrics.lpips import Lpips
from mrunfold.restoration.settings import RestoreSettings

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What is compared: tasks (all if none), images of each folder, their cut, weights and what is left out.

    prior: of plug_and_play, left out without; features: of LPIPS, left out without; steps: of a sample;
    parameters: further ones of unfold; only_ours: without rivals; speed: also time one 256×256 image.
    """

    tasks: tuple[str, ...] = ()
    images: int | None = None
    crop: int | None = None
    weights: str = "natural-compact"
    prior: str | None = None
    features: Path | None = None
    steps: int = 8
    only_ours: bool = False
    speed: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)


def compare(folders: Sequence[Path], out: Path, wanted: Comparison, say: Callable[[str], None]) -> None:
    """Measure what is not in the file `out` yet, write it there row by row, and say rows, table and claims.

    InputError for tasks that do not exist, a damaged file, and `speed` without plug_and_play to compare with.
    """
    if wanted.speed and (wanted.prior is None or wanted.only_ours):
        raise InputError("--speed compares with plug_and_play; give --prior, and leave --only-ours out")
    settings = _chosen(out.with_name(out.stem + "-shake.png"), wanted.tasks)
    lpips = None if wanted.features is None else Lpips(wanted.features)
    earlier, held = (load(out), load_speed(out)) if out.exists() else ([], None)
    so_far: list[RestoreRow] = []
    kept = {row.key for row in earlier}

    def report(row: RestoreRow) -> None:
        so_far.append(row)
        if row.key in kept:
            return
        save(merged(so_far, earlier), out, held)
        seen = "" if row.lpips is None else f", LPIPS {row.lpips:.4f}"
        say(
            f"{row.data}/{row.image} {row.task} {row.method}: {row.psnr:.2f} dB, SSIM {row.ssim:.4f}{seen}, "
            f"{row.seconds:.2f} s"
        )

    rivals = () if wanted.only_ours else rivals_here(say)
    for folder in folders:
        measure(
            folder.name, read_images(folder, wanted.images, wanted.crop), settings, weights=wanted.weights,
            prior=wanted.prior, rivals=rivals, steps=wanted.steps,
            parameters=wanted.parameters, lpips=lpips, report=report, done=earlier,
        )  # fmt: skip
    speed = _speed(folders, settings, so_far, held, wanted, say) if wanted.speed else held
    save(merged(so_far, earlier), out, speed)
    say(f"\n{markdown(so_far, speed)}\n{claims(so_far)}")


def _chosen(shake: Path, names: Sequence[str]) -> dict[str, RestoreSettings]:
    write_shake(shake)
    settings = tasks(shake)
    for name in names:
        if name not in settings:
            raise InputError(f"there is no task {name!r}{did_you_mean(name, settings)}")
    return {name: settings[name] for name in names or settings}


def _speed(
    folders: Sequence[Path],
    settings: dict[str, RestoreSettings],
    rows: Sequence[RestoreRow],
    held: RestoreSpeed | None,
    wanted: Comparison,
    say: Callable[[str], None],
) -> RestoreSpeed:
    """Return the speed, measured anew unless the file holds that of the same weights and options."""
    options = tuned_options(rows, folders[0].name)
    if held is not None and held.made_by == made_by(wanted.weights, str(wanted.prior), options):
        return held
    photo = colour_image([file for folder in folders for file in photos_in(folder)])
    say(f"one {photo.pixels.shape[1]}×{photo.pixels.shape[2]} colour image:")
    return measure_speed(
        photo, settings, options, weights=wanted.weights, prior=str(wanted.prior), report=say
    )
