"""`mrunfold evaluate`: scores of reconstructed folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrunfold.cli.options import MAX_SEED
from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.evaluation import Comparison, Run

__all__ = ["evaluate"]

INCOMPLETE = 3  # scores were written, but not of every volume


def evaluate(
    folders: Annotated[
        list[Path], typer.Argument(help="RECON_DIR TARGET_DIR, or A B TARGET_DIR to compare two runs.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for scores.csv, scores.json, report.html.")] = None,
    target: Annotated[
        str | None, typer.Option(help="rss, esc or target, where files hold more than one.")
    ] = None,
    lpips_features: Annotated[
        Path | None, typer.Option(help="AlexNet's convolutions, .npz: LPIPS is computed too.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=100, max=10**6, help="Bootstrap draws of the intervals.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the bootstrap.")] = 0,
    across_protocols: Annotated[
        bool, typer.Option("--across-protocols", help="Compare runs of different protocols.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")] = False,
) -> None:
    """Score NAME.h5 of RECON_DIR against NAME.h5 of TARGET_DIR by fastMRI's rule, or compare two runs.

    Exit code 3 if some volume could not be scored: they are listed, and in no mean.
    Example: mrunfold evaluate recons/ multicoil_val/ --out scores
    """
    from mrunfold.cli.console import note, volume_progress
    from mrunfold.evaluation import check_outputs, compare, evaluate_folder, write_outputs

    if len(folders) not in (2, 3):
        raise InputError(
            f"give RECON_DIR TARGET_DIR, or A B TARGET_DIR to compare; got {len(folders)} folders"
        )
    if out is not None:
        check_outputs(out, overwrite)
    runs = []
    for folder in folders[:-1]:
        with volume_progress(quiet) as progress:
            how: dict[str, Any] = {"kind": target, "lpips_features": lpips_features}
            runs.append(evaluate_folder(folder, folders[-1], **how, progress=progress))
    if len(runs) == 2 and runs[0].name == runs[1].name:  # a/recons and b/recons
        runs = [replace(run, name=f"{letter} ({run.name})") for letter, run in zip("AB", runs, strict=True)]
    comparison = None
    if len(runs) == 2:
        comparison = compare(*runs, draws=draws, seed=seed, across_protocols=across_protocols)
    if out is not None:
        write_outputs(out, runs, comparison, draws=draws, seed=seed, overwrite=overwrite)
    if not quiet:
        _report(runs, comparison, draws, seed)
        if out is not None:
            note(f"written: {out / 'report.html'}, scores.csv, scores.json")
    _leave(runs)


def _report(runs: list[Run], comparison: Comparison | None, draws: int, seed: int) -> None:
    from mrunfold.cli.console import note
    from mrunfold.evaluation.volumes import LPIPS_RULE, RULE

    for run in runs:
        note(f"{run.name}: {len(run.scored)} of {len(run.volumes)} volumes scored")
        _print_groups(run.summary(draws=draws, seed=seed))
    if comparison is not None:
        first, second = (run.name for run in runs)
        note(f"{first} − {second}: {len(comparison.names)} volumes in both")
        _print_groups(comparison.differences, signed=True)
        wins = ", ".join(f"{metric.upper()} {n}" for metric, n in comparison.better.items())
        note(f"  {first} better in so many of {len(comparison.names)}: {wins}")
    if any(v.simulated for run in runs for v in run.scored):
        note("simulated data: the files say so themselves")
    if all(run.protocol_digests == (None,) for run in runs):
        note("no protocol digest in the files: nothing says that they were made alike")
    note(f"rule: {RULE}")
    if any(run.lpips_features for run in runs):
        note(LPIPS_RULE)
    note(f"[…]: 95 % intervals, bootstrap over volumes, {draws} draws, seed {seed}")


def _print_groups(groups: dict[str, Any], signed: bool = False) -> None:
    from mrunfold.cli.console import print_table
    from mrunfold.evaluation.page import HEADINGS, interval_text

    for group, metrics in groups.items():
        values = [
            f"{HEADINGS[m]} {interval_text(m, interval, signed)}"
            for m, interval in metrics.items()
            if interval is not None
        ]
        print_table([(f"{group} ({metrics['ssim'].count})", "  ".join(values))])


def _leave(runs: list[Run]) -> None:
    """Name on stderr what has no score, and exit with INCOMPLETE if there is any."""
    from mrunfold.cli.console import print_error

    for run in runs:
        for volume in run.unscored:
            print_error(f"{volume.name}: {volume.problem}", label=f"not scored in {run.name}")
    if any(run.unscored for run in runs):
        raise typer.Exit(INCOMPLETE)
