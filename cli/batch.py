"""`mrunfold batch`: many raw files to one folder of volumes, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrunfold.cli.shared import with_recon_options
from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.batch import Batch
    from mrunfold.pipeline import ReconSettings
    from mrunfold.protocols.reconstruction import ReconProtocol

__all__ = ["batch"]

TERMINATED = 143  # 128 + SIGTERM


@with_recon_options(seed="name")
def batch(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(help="Folders of raw data, or files.")],
    out: Annotated[Path | None, typer.Option(help="Folder for NAME.h5 of each and manifest.jsonl.")] = None,
    protocol: Annotated[str | None, typer.Option(help="A frozen experiment: its name, or FILE.toml.")] = None,
    freeze: Annotated[Path | None, typer.Option(help="Write all this as a protocol, FILE.toml.")] = None,
    workers: Annotated[int | None, typer.Option(help="So many processes, by Dask.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Trusted Dask cluster, tls://host:port.")] = None,
    tls: Annotated[Path | None, typer.Option(help="ca.pem, cert.pem, key.pem for tls://host:port.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try what failed again.")] = False,
) -> None:
    """Reconstruct many scans into one folder; the same command again does what is missing.

    Exit code 1 when a volume failed; manifest.jsonl says why.
    Example: mrunfold batch multicoil_val --out results --mask random --accel 4
    """
    from mrunfold.batch import Batch, run_batch
    from mrunfold.extras import require

    quiet = context.params["quiet"]
    if context.params["dicom"]:
        require("pydicom", "highdicom", what="--dicom")
    plan, settings = _settings(context, protocol)
    if freeze is not None:
        _freeze(context, plan, settings, quiet)
        return
    if out is None:
        raise InputError("batch needs a folder to write to; add --out DIR")
    state = Batch()
    how = {key: context.params[key] for key in ("workers", "scheduler", "tls", "overwrite", "retry_failed")}
    with _leave_resumable(state), _progress(quiet) as progress:
        run_batch(inputs, out, settings, protocol=plan, **how, progress=progress, batch=state)
    if context.params["dicom"]:
        _export(out, state, quiet)
    _report(context, state, out, quiet)
    raise typer.Exit(1 if state.failed else 0)


def _export(out: Path, state: Batch, quiet: bool) -> None:
    from mrunfold.batch.dicom import export_volumes
    from mrunfold.cli.console import note, volume_progress

    with _leave_resumable(state), volume_progress(quiet) as progress:
        count = export_volumes(out, state, progress)
    note(f"dicom: {count['written']} volumes written, {count['kept']} kept", quiet)


def _settings(context: typer.Context, name: str | None) -> tuple[ReconProtocol | None, ReconSettings]:
    """Return the protocol, if one is named, and the settings; options that contradict it are refused."""
    from mrunfold.batch.protocol import protocol_settings
    from mrunfold.cli.options import recon_options
    from mrunfold.pipeline import ReconSettings
    from mrunfold.protocols.reconstruction import load_recon_protocol

    if name is None:
        return None, ReconSettings(**recon_options(context.params))
    plan = load_recon_protocol(name)
    # Only what was typed can contradict: what an option is without being typed is nobody's wish.
    typed = {
        key: value
        for key, value in context.params.items()
        if getattr(context.get_parameter_source(key), "name", "") != "DEFAULT"
    }
    return plan, protocol_settings(plan, recon_options(typed))


def _freeze(context: typer.Context, plan: ReconProtocol | None, settings: ReconSettings, quiet: bool) -> None:
    """Write the files and settings as a protocol; the method is frozen if it was named."""
    from mrunfold.batch import find_volumes
    from mrunfold.batch.protocol import freeze, protocol_volumes
    from mrunfold.cli.console import print_table, volume_progress
    from mrunfold.io import atomic_path
    from mrunfold.protocols.reconstruction import to_toml

    file: Path = context.params["freeze"]
    if file.suffix != ".toml" or file.exists():
        raise InputError(f"--freeze writes a new file that ends in .toml, got {file}; name another")
    inputs, out = context.params["inputs"], context.params["out"] or Path()
    volumes = find_volumes(inputs, out) if plan is None else protocol_volumes(plan, inputs, out)[0]
    named = plan is not None and plan.method is not None
    chosen = ("method", "samples", "steps", "weights")
    given = context.params["no_sd"] or any(context.params[key] is not None for key in chosen)
    with volume_progress(quiet) as progress:
        frozen = freeze(
            file.name.removesuffix(".toml").removesuffix(".recon"),
            settings,
            volumes,
            with_method=named or given or bool(context.params["param"]),
            progress=progress,
        )
    with atomic_path(file) as part:
        part.write_text(to_toml(frozen), encoding="utf-8")
    if not quiet:
        method = "any" if frozen.method is None else frozen.method.name
        rows = [("protocol", str(file)), ("files", str(len(volumes))), ("method", method)]
        print_table([*rows, ("digest", frozen.digest())])


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

    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        from mrunfold.pipeline.progress import progress_lines

        with progress_lines(what="volume") as lines:
            yield lambda volume, volumes, done, total: lines(volume + done / max(total, 1), volumes)
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


def _report(context: typer.Context, state: Batch, out: Path, quiet: bool) -> None:
    """Print what was done on stdout, and what failed on stderr."""
    from mrunfold.cli.console import as_options, option_names, print_error, print_table

    root = context.find_root()
    names = option_names(root.command, root)
    for name, message in state.failed.items():
        message = as_options(message, names)
        print_error(message if message.startswith(name) else f"{name}: {message}", label="failed")
    if quiet:
        return
    rows = [
        ("folder", str(out)),
        ("done", f"{len(state.done)} volumes, {state.slices} slices"),
        ("kept", f"{len(state.kept)} volumes done before"),
        ("failed", f"{len(state.failed)} volumes"),
    ]
    if state.left_out:
        rows.append(("left out", f"{state.left_out} files that the protocol does not list"))
    if state.slices:
        rows.append(("time", f"{state.seconds / state.slices:.2f} s/slice"))
    print_table(rows)
