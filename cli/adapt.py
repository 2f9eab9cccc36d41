"""`mrunfold adapt`: fine-tunes the network on undersampled scans, without a fully sampled one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrunfold.cli.options import MAX_SEED, MAX_THREADS

if TYPE_CHECKING:
    from mrunfold.pipeline.adapt import Adapted
    from mrunfold.training.adapt import AdaptState

__all__ = ["adapt"]

NOTHING_BETTER = 3
INTERRUPTED = 130


def adapt(
    files: Annotated[list[Path], typer.Argument(help="Undersampled raw files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Weights to write, FILE.safetensors.")],
    weights: Annotated[str | None, typer.Option(help="Weights to begin with, as `recon`.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps at most, of one slice each.")] = 120,
    part: Annotated[str, typer.Option(help="What is tuned: all weights, or the levels only.")] = "all",
    most: Annotated[int, typer.Option(min=1, help="Slices learned from, spread over the files.")] = 12,
    slices: Annotated[str | None, typer.Option(help="Which slices of each file: 0:3, ::2 or 0,4,-1.")] = None,
    coils: Annotated[str, typer.Option(help="Virtual coils, as `recon`.")] = "auto",
    mask: Annotated[str, typer.Option(help="A mask to draw over the files, for trials.")] = "acquired",
    accel: Annotated[float | None, typer.Option(help="Acceleration of a drawn mask.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of all draws.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, max=MAX_THREADS, help="CPU threads.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier weights.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Fine-tune the network on your own undersampled scans; no fully sampled one is needed.

    The same command again goes on where it was stopped.  Exit code 3: nothing better was found, nothing is
    written.
    Example: mrunfold adapt scans --out ours.safetensors
    """
    from mrunfold.cli.console import note
    from mrunfold.cli.options import parse_coils
    from mrunfold.pipeline import ReconSettings
    from mrunfold.pipeline.adapt import adapt as run
    from mrunfold.pipeline.adapt import state_file
    from mrunfold.training.adapt import AdaptSettings

    how = AdaptSettings(steps=steps, part=part, seed=seed)  # type: ignore[arg-type]
    settings = ReconSettings(
        mask=mask, accel=accel, slices=slices, coils=parse_coils(coils), device=device, threads=threads
    )
    try:
        with _progress(steps, quiet) as report:
            found = run(
                files, out, settings, how, weights=weights, most=most, overwrite=overwrite, report=report
            )
    except (KeyboardInterrupt, SystemExit):
        if state_file(out).exists():
            note("stopped; the same command goes on from the last look at the kept-out samples", quiet)
            raise typer.Exit(INTERRUPTED) from None
        raise
    _report(found, quiet)
    if found.file is None:
        raise typer.Exit(NOTHING_BETTER)


@contextmanager
def _progress(steps: int, quiet: bool) -> Iterator[Callable[[AdaptState], None]]:
    """Give what draws a bar on a terminal's stderr, else a line at each look; nothing where `quiet`."""
    if quiet or not sys.stderr.isatty():
        looks = 0

        def line(state: AdaptState) -> None:
            nonlocal looks
            if not quiet and len(state.errors) > looks:
                looks = len(state.errors)
                print(f"step {state.step} of {steps}: {_errors(state)}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[errors]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=steps, errors="reading")
        yield lambda state: bar.update(task, completed=state.step, errors=_errors(state))


def _errors(state: AdaptState) -> str:
    return f"held-out error {state.errors[-1]:.4f} (before {state.before:.4f}, best {state.best:.4f})"


def _report(found: Adapted, quiet: bool) -> None:
    from mrunfold.cli.console import note
    from mrunfold.cli.recon import checked_in_words

    before, best = found.state.before, found.state.best
    if found.refused:
        total = found.slices + len(found.refused)
        note(f"left out {len(found.refused)} of {total} slices: {found.refused[0]}", quiet)
    note(f"held-out error: {before:.4f} before, {best:.4f} at best, {found.state.step} steps", quiet)
    note(f"check before: {checked_in_words(found.before)}", quiet)
    if found.file is None:
        note("nothing better was found: no weights are written; go on with those you have", quiet)
        return
    note(f"check after: {checked_in_words(found.after)}", quiet)
    note(f"written: {found.file}; use it as --weights {found.file}", quiet)
