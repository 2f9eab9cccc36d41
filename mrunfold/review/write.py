"""Pages on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrunfold.errors import InputError
from mrunfold.export import versions
from mrunfold.io.atomic import atomic_path
from mrunfold.io.folder import check_target, result_folder
from mrunfold.review.cases import Progress, collect
from mrunfold.review.page import view_page

__all__ = ["folder_beside", "write_view"]

OURS = ("volume-*.js",)


def folder_beside(final: Path) -> Path:
    """Return the folder of a page's wider data: NAME_files, which file managers move with NAME.html."""
    return final.with_name(f"{final.stem}_files")


def write_view(
    final: Path,
    results: Sequence[Path],
    *,
    names: bool = False,
    overwrite: bool = False,
    one_file: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Write the page of `results` to `final`, whole or not at all, and return what it cannot show.

    What would make the page larger than 6 MB goes to the folder beside it, unless `one_file`.  Raises
    InputError as `collect` does, and where the file exists already and `overwrite` is not set.
    """
    if final.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{final} is no name for a page; end it with .html")
    if final.exists() and not overwrite:
        raise InputError(f"{final} exists already; add `overwrite` to replace it or choose another `out`")
    folder = folder_beside(final)
    check_target(folder, overwrite, OURS)
    cases = collect(results, names=names, progress=progress)
    version = versions(["mrunfold"])["mrunfold"] or "unknown"
    page = view_page(cases, version, None if one_file else folder.name)
    with atomic_path(final) as temporary:  # the page appears last, when its folder is whole
        temporary.write_bytes(page.text.encode("utf-8"))
        if page.files or folder.exists():
            with result_folder(folder, overwrite, OURS) as work:
                for name, text in page.files.items():
                    (work / name).write_text(text, encoding="ascii")
    if not page.files and folder.exists():
        folder.rmdir()  # of an earlier page, emptied above
    return list(dict.fromkeys(line for case in cases for line in case.missing))
