"""`mrunfold batch`: many raw files to one folder of volumes, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mrunfold.batch import Batch

__all__ = ["batch"]

TERMINATED = 143  # 128 + SIGTERM


def batch(
    inputs: Annotated[list[Path], typer.Argument(help="Folders of raw data, or files.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.h5 of each file and manifest.jsonl.")],
    mask: Annotated[str, typer.Option(help="Undersample by this law, as `mask` has it.")] = "acquired",
    accel: Annotated[float | None, typer.Option(help="Acceleration of a drawn mask.")] = None,
    calibration: Annotated[str | None, typer.Option(help="Its full centre: lines, or 24x32.")] = None,
    center_fraction: Annotated[float | None, typer.Option(help="The same, as a fraction.")] = None,
    method: Annotated[str | None, typer.Option(help="How to reconstruct; a default if not given.")] = None,
    samples: Annotated[int | None, typer.Option(help="Posterior samples: std and quantile maps.")] = None,
    steps: Annotated[int | None, typer.Option(help="Noise levels of a sample; more are more exact.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights of unfold, .safetensors.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="key=value of the method; repeatable.")] = None,
    slices: Annotated[str | None, typer.Option(help="Which slices of each: 0:3, ::2 or 0,4,-1.")] = None,
    seed: Annotated[str, typer.Option(help="`name`: of each file, as fastMRI; or an integer.")] = "name",
    target: Annotated[str | None, typer.Option(help="rss or combined; rss if in the file.")] = None,
    coils: Annotated[float | None, typer.Option(help="Compress to so many coils, or energy.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try what failed again.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other settings' work.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep coil maps.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Reconstruct many scans into one folder; the same command again does what is missing.

    Exit code 1 when a volume failed; manifest.jsonl says why.
    Example: mrunfold batch multicoil_val --out results --mask random --accel 4
    """
    from mrunfold.batch import Batch, run_batch
    from mrunfold.cli.recon import _centre, _parameters, _seed, _whole
    from mrunfold.methods.registry import DEFAULT_METHOD
    from mrunfold.pipeline import ReconSettings

    learned = {"samples": samples, "steps": steps, "weights": weights}
    settings = ReconSettings(
        mask=mask,
        accel=accel,
        calibration=None if calibration is None else _centre(calibration),
        center_fraction=center_fraction,
        method=method or DEFAULT_METHOD,
        parameters=_parameters(param or []) | {k: v for k, v in learned.items() if v is not None},
        slices=slices,
        seed=_seed(seed),
        target=target,  # type: ignore[arg-type]  # checked by ReconSettings
        coils=coils if coils is None or coils < 1 else _whole(coils),
        device=device,
        threads=threads,
        cache=not no_cache,
    )
    state = Batch()
    with _leave_resumable(state), _progress(quiet) as progress:
        how = {"overwrite": overwrite, "retry_failed": retry_failed}
        run_batch(inputs, out, settings, **how, progress=progress, batch=state)
    _report(state, out, quiet)
    raise typer.Exit(1 if state.failed else 0)


@contextmanager
def _leave_resumable(state: Batch) -> Iterator[None]:
    """Say how to go on after Ctrl-C or SIGTERM, and leave with their exit codes."""
    from mrunfold.cli.console import print_error

    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        code = 130 if isinstance(error, KeyboardInterrupt) else error.code
        if code in (130, TERMINATED):
            count = len(state.done) + len(state.kept)
            print_error(
                f"{count} of {state.volumes} volumes are done and kept; the same command goes on from there",
                label="interrupted",
            )
        raise SystemExit(code) from None


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int, float, int], None] | None]:
    """Give a callback that draws volumes, slices, s/slice and the time left on a terminal's stderr."""
    import sys

    if quiet or not sys.stderr.isatty():
        yield None
        return
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns: tuple[Any, ...] = (
        TextColumn("volume {task.fields[volume]}, slice {task.fields[slice]}"),
        BarColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1, volume="?", slice="?", pace="")
        seen: dict[int, tuple[float, int]] = {}
        start = time.monotonic()

        def show(volume: int, volumes: int, done: float, total: int) -> None:
            seen[volume] = (done, total)
            pace = _pace(seen, volumes - volume - 1, time.monotonic() - start)
            bar.update(
                task,
                completed=volume + done / total,
                total=volumes,
                volume=f"{volume + 1}/{volumes}",
                slice=f"{min(int(done) + 1, total)}/{total}",
                pace=pace,
            )

        yield show


def _pace(seen: dict[int, tuple[float, int]], to_come: int, elapsed: float) -> str:
    """Return "1.2 s/slice, 0:10:05 left" where volumes to come are as large as those seen are on average.

    seen: (slices done, slices) of each volume that was worked on, the last of them in hand.
    """
    import datetime

    done = sum(one for one, _ in seen.values())
    if done < 1:
        return ""
    mean = sum(total for _, total in seen.values()) / len(seen)
    last_done, last_total = seen[max(seen)]
    left = elapsed / done * (last_total - last_done + to_come * mean)
    return f"{elapsed / done:.1f} s/slice, {datetime.timedelta(seconds=round(left))} left"


def _report(state: Batch, out: Path, quiet: bool) -> None:
    """Print what was done on stdout, and what failed on stderr."""
    from mrunfold.cli.console import print_error, print_table

    for name, message in state.failed.items():
        print_error(message if message.startswith(name) else f"{name}: {message}", label="failed")
    if quiet:
        return
    rows = [
        ("folder", str(out)),
        ("done", f"{len(state.done)} volumes, {state.slices} slices"),
        ("kept", f"{len(state.kept)} volumes done before"),
        ("failed", f"{len(state.failed)} volumes"),
    ]
    if state.slices:
        rows.append(("time", f"{state.seconds / state.slices:.2f} s/slice"))
    print_table(rows)
