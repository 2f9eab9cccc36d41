"""`mrunfold review`: a reading study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mrunfold.cli.options import MAX_SEED
from mrunfold.errors import InputError

__all__ = ["review"]


def review(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Folder of results of `recon` or `batch`; with --join, what readers saved."),
    ],
    blinded: Annotated[bool, typer.Option("--blinded", help="Code names, random order.")] = False,
    join: Annotated[
        Path | None, typer.Option(help="The study's key: join readers' CSV files with it into one table.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="To write: <folder>_study, or ratings.csv beside the key, if none.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier table.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="Of order and names; drawn if none.")
    ] = None,
    question: Annotated[
        list[str] | None, typer.Option(help="A question, rated 1 to 5; may be repeated.")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Show references as cases too.")] = False,
    repeat: Annotated[int, typer.Option(min=0, help="Cases that are shown twice, for each reader.")] = 0,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Show results of one scan side by side too: which is better?")
    ] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Set one scan aside to practise on; it is not counted.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write a blinded reading study: one page for readers, and the key in another folder.

    Readers save their ratings as CSV from the page, which names no patient, file or method.  --join adds
    agreement, differences of methods and the size of a next study as .agreement.csv and .html.
    Example: mrunfold review results --blinded --seed 7
    Then:    mrunfold review --join results_study/key study-*.csv
    """
    if blinded == (join is not None):
        raise InputError(
            "say what to do: --blinded writes a study, --join KEY joins ratings with its key; `view` is for "
            "looking openly"
        )
    if join is not None:
        if seed is not None or question or reference or repeat or pairs or training:
            raise InputError(
                "--seed, --question, --reference, --repeat, --pairs and --training are for --blinded; leave "
                "them out"
            )
        _join(join, inputs, out, overwrite, quiet)
        return
    if len(inputs) != 1 or overwrite:
        raise InputError("give --blinded one folder that holds all results, and a new --out")
    shown = {"reference": reference, "repeats": repeat, "pairs": pairs, "training": training}
    _blinded(inputs[0], out, seed, question, shown, quiet)


def _blinded(
    folder: Path,
    out: Path | None,
    seed: int | None,
    questions: list[str] | None,
    shown: dict[str, Any],
    quiet: bool,
) -> None:
    from mrunfold.cli.console import note, slice_progress
    from mrunfold.review.study import QUESTIONS, write_study

    final = out if out is not None else folder.absolute().with_name(f"{folder.absolute().name}_study")
    with slice_progress(quiet) as progress:
        done = write_study(
            folder, final, seed=seed, questions=questions or QUESTIONS, progress=progress, **shown
        )
    note(f"wrote {done.cases} cases, seed {done.seed}; research use, not for diagnosis", quiet)
    note(f"give to readers: {done.page}", quiet)
    note(f"keep to yourself: {done.key.parent}", quiet)


def _join(key: Path, ratings: list[Path], out: Path | None, overwrite: bool, quiet: bool) -> None:
    from mrunfold.cli.console import note
    from mrunfold.export import versions
    from mrunfold.review.agreement import measure
    from mrunfold.review.agreement_page import write_agreement
    from mrunfold.review.join import join_ratings

    beside = key if key.is_dir() else key.parent
    done = join_ratings(key, ratings, out or beside / "ratings.csv", overwrite=overwrite)
    note(f"wrote {done.table}: {done.rows} rows of {len(done.readers)} readers", quiet)
    if done.open:
        note(f"note: {done.open} ratings were left open and are empty", quiet)
    try:
        lines = measure(done.answers, done.questions)
    except InputError as error:  # the table is whole without
        note(f"note: no statistics: {error}", quiet)
        return
    table, page = write_agreement(done.table, lines, versions(["mrunfold"])["mrunfold"] or "unknown")
    _say(lines, quiet)
    note(f"wrote {table} and {page}", quiet)


def _say(lines: list[Any], quiet: bool) -> None:
    """Print what stands for all readers, and each test."""
    from mrunfold.cli.console import print_table

    if quiet:
        return
    shown = [one for one in lines if one.value is not None and one.measure != "seconds a case"]
    print_table(
        [
            (
                f"{one.measure}, {one.of}" + (f" ({one.question})" if one.question else ""),
                f"{one.value:.2f}"
                + ("" if one.low is None else f"  [{one.low:.2f}, {one.high:.2f}]")
                + ("" if one.p_holm is None else f"  p = {one.p_holm:.3g} (Holm)"),
            )
            for one in shown
        ]
    )
