"""`mrunfold view`: results as one page that a browser opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["view"]


def view(
    results: Annotated[list[Path], typer.Argument(help="Folders of `recon`, or volumes of `batch`.")],
    out: Annotated[Path | None, typer.Option(help="Page to write, <first result>.view.html if none.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier page.")] = False,
    names: Annotated[bool, typer.Option("--names", help="Show the folders' names in the page.")] = False,
    one_file: Annotated[
        bool, typer.Option("--one-file", help="Everything in the page, however large: no folder beside it.")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write only, open no browser.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write results as one HTML page and open it: no network, no server, nothing to install.

    What would make it larger than 6 MB lies in a folder beside it, NAME_files.
    Results of one scan share its panels: add further methods to compare with.
    Example: mrunfold view scan_unfold scan_sense
    """
    from mrunfold.cli.console import note, slice_progress
    from mrunfold.review.write import folder_beside, write_view

    final = (
        out if out is not None else results[0].absolute().with_name(f"{results[0].absolute().name}.view.html")
    )
    with slice_progress(quiet) as progress:
        how = {"names": names, "overwrite": overwrite, "one_file": one_file}
        missing = write_view(final, results, progress=progress, **how)
    note(f"wrote {final}, {final.stat().st_size / 1e6:.1f} MB; research use, not for diagnosis", quiet)
    folder = folder_beside(final)
    if folder.is_dir():
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        note(f"and {folder}, {size:.1f} MB: keep the two together, or write `--one-file`", quiet)
    for line in missing:
        note(f"not in it: {line}", quiet)
    if not no_open:
        _open(final, quiet)


def _open(page: Path, quiet: bool) -> None:
    import webbrowser

    from mrunfold.cli.console import note

    try:
        opened = webbrowser.open(page.absolute().as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        note("no browser could be opened here; open the file yourself", quiet)
