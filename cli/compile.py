"""`mrunfold compile`: the learned reconstruction as a file that LibTorch runs without Python."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mrunfold.errors import InputError

__all__ = ["compile"]


def compile(
    out: Annotated[Path, typer.Option(help="File to write, TorchScript.")] = Path("model.pt"),
    weights: Annotated[
        str | None, typer.Option(help="A network that ships, or a .safetensors file; the default if none.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="Compare with Python at this size too: coils × readout × phase, as 15x320x320."),
    ] = None,
) -> None:
    """Compile the posterior mean with its operator, for any number of slices, coils and any matrix size.

    The file is compared with Python before it is kept.  C++ sources that run it: docs/runtime.md.

    Example: mrunfold compile --shape 15x320x320 --out model.pt
    """
    size = None if shape is None else _shape(shape)

    from mrunfold.cli.console import print_table
    from mrunfold.networks.weights import load_weights
    from mrunfold.runtime import SOURCE, export_mean

    network, metadata = load_weights(weights)
    with _progress() as progress:
        about = export_mean(out, network, metadata, size, progress)
    rows = [
        ("weights", f"{metadata['file']}, sha256 {metadata['sha256'][:12]}"),
        ("network", f"{about['blocks']} blocks, {about['parameters'] / 1e6:.2f} million parameters"),
        ("from Python", f"at most {about['difference']:.1e} of the image's height"),
        ("C++ sources", str(SOURCE)),
    ]
    print_table(rows, f"wrote {out}: {out.stat().st_size / 1e6:.0f} MB")


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) < 6 for part in parts):
        raise InputError(f"--shape is coils x readout x phase, as 15x320x320, got {text!r}")
    coils, readout, phase = map(int, parts)
    if coils < 1 or min(readout, phase) < 8:
        raise InputError(f"--shape needs at least 1 coil and a matrix of 8x8, got {text!r}")
    return coils, readout, phase


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Give a callback (steps done, steps in all) that draws a bar on a terminal's stderr."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(TextColumn("compiling"), BarColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
