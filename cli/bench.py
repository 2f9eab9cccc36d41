"""`mrunfold bench`: measure this machine, each figure against a peer in the same run."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure speed and quality here, each figure against a peer in the same run.",
)


@app.command()
def operators(
    coils: Annotated[int, typer.Option(min=1, help="Receive coils.")] = 15,
    size: Annotated[int, typer.Option(min=1, help="Matrix size, square.")] = 320,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements; their median counts.")] = 41,
) -> None:
    """Time the normal operator of Sense against its two FFTs alone."""
    from mrunfold.benchmarks.operators import run

    run(coils, size, repeats)


@app.command()
def masks() -> None:
    """Time the Poisson-disc masks against SigPy's."""
    from mrunfold.benchmarks.masks import run

    run()
