"""`mrunfold sample`: a scan to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrunfold.cli.options import MAX_SEED

__all__ = ["sample"]


def sample(
    out: Annotated[Path, typer.Argument(help="File to write.")] = Path("sample.h5"),
    coils: Annotated[int, typer.Option(help="Receive coils.")] = 8,
    slices: Annotated[int, typer.Option(help="Axial slices.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of phase, coils and noise.")] = 0,
    noise: Annotated[float, typer.Option(help="Noise over the brightest tissue, as a fraction.")] = 0.01,
) -> None:
    """Write a small simulated multicoil brain scan in fastMRI's format.

    Example: mrunfold sample scan.h5 --slices 1
    """
    from mrunfold.cli.console import note
    from mrunfold.phantoms.brain import write_sample

    path = write_sample(out, coils=coils, slices=slices, seed=seed, noise=noise)
    size = path.stat().st_size / 1e6
    note(f"wrote {path}: {slices} slices, {coils} coils, {size:.0f} MB, simulated from the ICBM 152 template")
