"""Markdown tables of what the benchmarks saved, whichever benchmark it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrunfold.benchmarks.peers import table as peers
from mrunfold.benchmarks.quality import adapted, compression, draws, learned, optimiser, seen, verdicts
from mrunfold.benchmarks.quality import scans as quality
from mrunfold.benchmarks.speed import compiled, cost, methods, scaling, serve, volume
from mrunfold.benchmarks.speed import stages as speed
from mrunfold.benchmarks.store import read_json, read_measured
from mrunfold.errors import InputError
from mrunfold.io import atomic_path

__all__ = ["fill", "markdown", "on_page"]

TABLE = r"<!-- table: (?P<name>[\w.-]+) -->\n\n(?P<table>(?:\|.*\n)*)"


def markdown(files: Sequence[Path]) -> list[str]:
    """Return the tables of JSON files, those of `bench quality` together in one.

    Raises InputError for a file that no benchmark wrote.
    """
    found, rows = [], []
    for file in files:
        if _is_quality(file):
            rows += quality.load(file)
        else:
            found += _tables(read_measured(file), file)
    return ([quality.markdown(rows)] if rows else []) + found


def on_page(text: str) -> list[tuple[str, str]]:
    """Return (file, table) of each `<!-- table: file -->` of a page, the table empty where there is none."""
    return [(found["name"], found["table"]) for found in re.finditer(TABLE, text)]


def fill(page: Path, folder: Path) -> list[str]:
    """Put the tables of the files in `folder` on a page, each below its `<!-- table: file -->`, in place.

    The second place of a file has its second table.  Returns the files that are not there yet, whose places
    are left as they are.
    """
    places: dict[str, int] = {}
    missing: list[str] = []

    def table(found: re.Match[str]) -> str:
        name = found["name"]
        if not (folder / name).exists():
            missing.append(name)
            return found[0]
        which = places.setdefault(name, 0)
        places[name] += 1
        made = markdown([folder / name])
        if which >= len(made):
            raise InputError(f"{page} asks for table {which + 1} of {name}, which has {len(made)}")
        # A line of text right below would be a row of the table.
        apart = "" if found.string[found.end() : found.end() + 1] in ("", "\n") else "\n"
        return f"<!-- table: {name} -->\n\n{made[which]}{apart}"

    text = re.sub(TABLE, table, page.read_text(encoding="utf-8"))
    with atomic_path(page) as part:
        part.write_text(text, encoding="utf-8")
    return list(dict.fromkeys(missing))


def _is_quality(file: Path) -> bool:
    content = read_json(file, "…")
    return isinstance(content, dict) and "rows" in content and "bench" not in content


def _tables(found: dict[str, Any], file: Path) -> list[str]:
    try:
        if found["bench"] == "speed":
            return speed.tables(found)
        if found["bench"] == "learned":
            return learned.tables(found)
        if found["bench"] == "peers":
            return peers.markdowns(found)
        if found["bench"] == "check":
            return verdicts.tables(found)
        known = {
            "methods": methods.markdown,
            "scaling": scaling.markdown,
            "compile": compiled.markdown,
            "compression": compression.markdown,
            "optimiser": optimiser.markdown,
            "samples": draws.markdown,
            "seen": seen.markdown,
            "cost": cost.markdown,
            "serve": serve.markdown,
            "volume": volume.markdown,
            "adapt": adapted.markdown,
        }
        return [known[found["bench"]](found)]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{file} is not a table of this version ({error}); measure again") from None
