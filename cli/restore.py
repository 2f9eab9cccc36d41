"""`mrunfold restore`: photographs by the same method, operators swapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrunfold.cli.options import MAX_SEED, MAX_THREADS
from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.restoration import Outcome, RestoreSettings

__all__ = ["restore"]

# Parameters of the learned method that have options of their own.
LEARNED = ("samples", "steps", "weights")


def restore(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    task: Annotated[
        str, typer.Option(help="denoise, deblur, upscale, inpaint, colourise; sensing with --simulate.")
    ],
    kernel: Annotated[
        str | None,
        typer.Option(help="gaussian:1.6, motion:15:30, disc:3, FILE.png; of upscale bicubic, box."),
    ] = None,
    factor: Annotated[int, typer.Option(help="Of upscale: 2, 3, 4.")] = 2,
    mask: Annotated[
        str | None,
        typer.Option(help="FILE.png, white where missing; with --simulate box:32 or random:0.7."),
    ] = None,
    border: Annotated[str, typer.Option(help="Of deblur: replicate or circular.")] = "replicate",
    noise: Annotated[str, typer.Option(help="σ for values from 0 to 1, or auto: from the image.")] = "auto",
    method: Annotated[str, typer.Option(help="unfold, tv_isotropic, tikhonov, plug_and_play.")] = "unfold",
    samples: Annotated[int | None, typer.Option(help="Posterior samples and a map of their spread.")] = None,
    steps: Annotated[int | None, typer.Option(help="Noise levels of a sample; more are more exact.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of unfold: a name or .safetensors; natural-compact.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option(help="key=value of the method; repeatable.")] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Degrade a clean image first, and print the scores.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of simulated noise and of samples.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, max=MAX_THREADS, help="CPU threads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; beside each image if none.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Restore photographs: PNG, JPEG, TIFF, 8 or 16 bits.

    Writes NAME_restored.png, NAME_preview.png and NAME_restored.json, with --samples the samples and their
    standard deviation (16 bits, 1 = white).
    Example: mrunfold restore photo.png --task deblur --kernel motion:15:30 --noise 0.02
    """
    from mrunfold.cli.options import parse_parameters

    given = {name: context.params[name] for name in LEARNED if context.params[name] is not None}
    parameters = parse_parameters(param or []) | given
    files = _files(images)

    import torch

    from mrunfold.methods import get_method
    from mrunfold.restoration import RestoreSettings

    if threads is not None:
        torch.set_num_threads(threads)
    settings = RestoreSettings(
        task=task, kernel=kernel, factor=factor, mask=mask, border=border, noise=_noise(noise), method=method,
        parameters=parameters, simulate=simulate, seed=seed,
    )  # fmt: skip
    get_method(
        method, **settings.method_parameters
    )  # a wrong name or number is known before a folder is worked through
    _restore_all(files, settings, out, quiet)


def _restore_all(files: list[Path], settings: RestoreSettings, out: Path | None, quiet: bool) -> None:
    """Restore each file; of several a bad one is named and passed over, and the exit code says so."""
    from mrunfold.cli.console import print_error
    from mrunfold.restoration import restore_file

    failed = 0
    with _progress(len(files), quiet) as progress:
        for n, file in enumerate(files):

            def show(share: float, n: int = n) -> None:
                progress(n + share)

            try:
                outcome = restore_file(file, file.parent if out is None else out, settings, show)
            except InputError as error:
                if len(files) == 1:
                    raise
                failed += 1
                print_error(f"{file.name}: {error}")
                continue
            if not quiet:
                _report(file, outcome)
    if failed:
        raise InputError(f"{failed} of {len(files)} images could not be restored; the others are")


def _files(images: list[Path]) -> list[Path]:
    """Return the files that are named and those in the folders that are named."""
    from mrunfold.io.images import photos_in

    found: list[Path] = []
    for path in images:
        if path.is_dir():
            # What an earlier run wrote beside its images is not restored again.
            made = ("_restored", "_preview", "_std", "_degraded")
            found += [p for p in photos_in(path) if not p.stem.endswith(made) and "_sample" not in p.stem]
        else:
            found.append(path)
    if not found:
        raise InputError("nothing to restore: the folder holds results alone; name the images")
    return found


def _noise(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--noise is auto or a σ from 0 to 1, got {text!r}") from None


@contextmanager
def _progress(count: int, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Give a callback (images done) that draws a bar on a terminal's stderr."""
    import sys

    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("image {task.fields[current]}/{task.total:g}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count, current=1)
        yield lambda done: bar.update(task, completed=done, current=min(int(done) + 1, count))


def _report(file: Path, outcome: Outcome) -> None:
    from mrunfold.cli.console import print_table

    rows = [("files", str(outcome.files[0].parent))]
    rows += [("", f"  {path.name}") for path in outcome.files]
    estimated = "estimated from the image" if outcome.estimated else "as given"
    rows.append(("noise", f"σ = {outcome.sigma_y:.4f} of the 0–1 range, {estimated}"))
    if outcome.scores is not None:
        scores = outcome.scores
        rows.append(("PSNR", f"{scores['psnr']:.2f} dB"))
        rows.append(("SSIM", f"{scores['ssim']:.4f}  (simulated; all channels, range 1)"))
    if outcome.record is not None:
        rows.append(
            ("time", f"{outcome.record['seconds']:.2f} s, {outcome.record['evaluations']} evaluations")
        )
    print_table(rows, title=file.name)
