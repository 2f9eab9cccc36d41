"""Pages on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrunfold.errors import InputError
from mrunfold.export import versions
from mrunfold.io.atomic import atomic_path
from mrunfold.review.cases import Progress, collect
from mrunfold.review.page import view_page

__all__ = ["write_view"]


def write_view(
    final: Path,
    results: Sequence[Path],
    *,
    names: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Write the page of `results` to `final`, whole or not at all, and return what it cannot show.

    Raises InputError as `collect` does, and where the file exists already and `overwrite` is not set.
    """
    if final.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{final} is no name for a page; end it with .html")
    if final.exists() and not overwrite:
        raise InputError(f"{final} exists already; add `overwrite` to replace it or choose another `out`")
    cases = collect(results, names=names, progress=progress)
    text = view_page(cases, versions(["mrunfold"])["mrunfold"] or "unknown")
    with atomic_path(final) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
    return list(dict.fromkeys(line for case in cases for line in case.missing))
