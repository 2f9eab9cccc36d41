"""`mrunfold review`: a reading study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrunfold.errors import InputError

__all__ = ["review"]


def review(
    folder: Annotated[Path, typer.Argument(help="Folder of results of `recon` or `batch`.")],
    blinded: Annotated[bool, typer.Option("--blinded", help="Code names, random order.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write, <folder>_study if none.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of order and names; drawn if none.")] = None,
    question: Annotated[
        list[str] | None, typer.Option(help="A question, rated 1 to 5; may be repeated.")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Show references as cases too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write a blinded reading study: one page for readers, and the key in another folder.

    Readers save their ratings as CSV from the page.  The page names no patient, file or method.
    Example: mrunfold review results --blinded --seed 7
    """
    from mrunfold.cli.console import note, slice_progress
    from mrunfold.review.study import QUESTIONS, write_study

    if not blinded:
        raise InputError("readers' ratings are for blinded images: add --blinded, or look openly with `view`")
    final = out if out is not None else folder.absolute().with_name(f"{folder.absolute().name}_study")
    with slice_progress(quiet) as progress:
        done = write_study(
            folder, final, seed=seed, questions=question or QUESTIONS, reference=reference, progress=progress
        )
    note(f"wrote {done.cases} cases, seed {done.seed}; research use, not for diagnosis", quiet)
    note(f"give to readers: {done.page}", quiet)
    note(f"keep to yourself: {done.key.parent}", quiet)
