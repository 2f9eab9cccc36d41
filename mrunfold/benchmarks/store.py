"""The files of what benchmarks measured: JSON, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from mrunfold.errors import InputError
from mrunfold.export import platform_facts, versions
from mrunfold.export.record import to_json
from mrunfold.io import atomic_path

__all__ = ["about", "load_rows", "merged", "read_json", "read_measured", "save_measured", "save_rows"]

Row = TypeVar("Row")


def about(bench: str) -> dict[str, Any]:
    """Return which `mrunfold bench` this is, and what ran it: versions, system, CPU threads."""
    return {
        "bench": bench,
        "threads": torch.get_num_threads(),
        "platform": platform_facts(),
        "versions": versions(("mrunfold", "torch", "numpy", "sigpy")),
    }


def save_measured(found: dict[str, Any], path: Path) -> None:
    """Write what was measured as JSON, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(to_json(found) + "\n", encoding="utf-8")


def read_measured(path: Path, bench: str | None = None) -> dict[str, Any]:
    """Read what `save_measured` wrote, of one `bench` where it is named; InputError for anything else."""
    found = read_json(path, bench or "…")
    if not isinstance(found, dict) or not isinstance(found.get("bench"), str):
        raise InputError(
            f"{path} is not a table of its own; write it with mrunfold bench {bench or '…'} --out"
        )
    if bench is not None and found["bench"] != bench:
        raise InputError(
            f"{path} is of `mrunfold bench {found['bench']}`; make it with `mrunfold bench {bench} --out`"
        )
    return found


def save_rows(rows: Sequence[Any], path: Path, **besides: Any) -> None:
    """Write rows (dataclasses) as JSON under `rows`, and what is told besides; whole or not at all."""
    with atomic_path(path) as part:
        content = {**besides, "rows": [asdict(row) for row in rows]}
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_rows(path: Path, kind: Callable[..., Row], bench: str) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows that `save_rows` wrote, each made by `kind`, and what stands besides.

    InputError where the file is not there, is no JSON or holds something else.
    """
    found = read_json(path, bench)
    try:
        rows = [kind(**row) for row in found["rows"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a table of bench {bench} ({error}); choose another file") from None
    return rows, {key: value for key, value in found.items() if key != "rows"}


def merged(rows: Sequence[Row], earlier: Sequence[Row], cell: Callable[[Row], Hashable]) -> list[Row]:
    """Return the rows, and those of an earlier run whose `cell` no row has: what each is a measurement of."""
    here = {cell(row) for row in rows}
    return [*rows, *(row for row in earlier if cell(row) not in here)]


def read_json(path: Path, bench: str) -> Any:
    """Return what a file of `mrunfold bench … --out` holds; InputError where there is none or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; write it with mrunfold bench {bench} --out") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error}); write it with mrunfold bench {bench} --out"
        ) from None
    except ValueError as error:  # what is not UTF-8 is one too
        raise InputError(
            f"{path} is not a table of mrunfold bench {bench} --out ({error}); choose another file"
        ) from None
