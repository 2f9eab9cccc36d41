"""Readers' ratings and the key of a study → one table."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.io.source import read_text_file
from mrunfold.io.tables import safe_cell
from mrunfold.review.study import HIGHEST, IMAGE_COLUMNS, KEY_COLUMNS, PREFERENCES

__all__ = ["Joined", "join_ratings"]

MOST_BYTES = 1 << 24  # of one file; 500 cases with long comments are far less
READER = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Joined:
    """What was written: the table, its rows and readers, how many answers were left open; questions; and the
    rows themselves, by column, as agreement.measure takes them."""

    table: Path
    rows: int
    readers: tuple[str, ...]
    open: int
    questions: tuple[str, ...]
    answers: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class _Key:
    study: str
    questions: tuple[str, ...]
    cases: dict[str, dict[str, str]]  # with the columns of side B for a pair

    @property
    def header(self) -> list[str]:
        """Columns of a file that the page saves."""
        return ["study", "reader", "position", "case", *self.questions, "preference", "comment", "seconds"]


def join_ratings(key: Path, ratings: Sequence[Path], final: Path, *, overwrite: bool = False) -> Joined:
    """Write one CSV of all readers' files and the key: a row for each reader and case.

    key: the folder `key` of a study, or its key.csv with study.json beside it; ratings: files that the page
    saved, one a reader.  The table has the columns of those files, then `kind` and `repeat_of` of the case
    and IMAGE_COLUMNS of its image, or of images A and (`…_B`) B of a pair; open answers are empty.  Written
    whole or not at all.  Raises InputError where a file is not of this study, not as the page saves it, a
    reader's second one or another's with the code changed, and where `final` exists.
    """
    if not ratings:
        raise InputError("no ratings to join; give the CSV files that readers saved from the page")
    if final.exists() and not overwrite:
        raise InputError(f"{final} exists already; add `overwrite` to replace it or choose another `out`")
    known = _read_key(key)
    of_key = ["kind", "repeat_of", *IMAGE_COLUMNS, *(f"{name}_B" for name in IMAGE_COLUMNS)]
    columns = [*known.header, *of_key]
    rows: list[dict[str, str]] = []
    files: dict[Path, tuple[str, list[dict[str, str]]]] = {}
    unrated = 0
    for path in ratings:
        reader, found = _read_ratings(path, known)
        _check_others(path, reader, found, files, known)
        files[path] = (reader, found)
        for row in found:
            case = known.cases[row["case"]]
            wanted = ["preference"] if case["kind"] == "pair" else known.questions
            unrated += sum(row[q] == "" for q in wanted)
            rows.append({**row, **{c: case.get(c, "") for c in of_key}})
    with atomic_path(final) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(safe_cell, columns))
        writer.writerows([safe_cell(row[c]) for c in columns] for row in rows)
    readers = tuple(reader for reader, _ in files.values())
    return Joined(final, len(rows), readers, unrated, known.questions, tuple(rows))


def _check_others(
    path: Path,
    reader: str,
    found: list[dict[str, str]],
    files: dict[Path, tuple[str, list[dict[str, str]]]],
    key: _Key,
) -> None:
    """Raise InputError where a file is a reader's second one, or holds another reader's answers."""
    for other, (code, rows) in files.items():
        if code.casefold() == reader.casefold():
            raise InputError(
                f"{other} and {path} are both of reader {reader}; give one file a reader, the last that was "
                "saved"
            )
        said = [*key.questions, "preference", "comment"]
        before = {row["case"]: row for row in rows}
        pairs = [(row, before[row["case"]]) for row in found]
        same = all(one[name] == two[name] for one, two in pairs for name in said)
        # Two readers may agree in everything but the time that they took.
        timed = sum(one["seconds"] == two["seconds"] for one, two in pairs)
        if same and (any(row["comment"] for row in found) or 2 * timed >= len(pairs)):
            raise InputError(
                f"{other} of reader {code} and {path} of reader {reader} hold the same answers; one of them "
                "is a copy: have each reader save an own file"
            )


def _read_key(path: Path) -> _Key:
    """Return the study's name, questions and cases, or raise InputError where they cannot be read."""
    path = path / "key.csv" if path.is_dir() else path
    header, rows = _read_csv(path, "give the folder `key` of a study, or its key.csv")
    if header != list(KEY_COLUMNS):
        raise InputError(
            f"{path} is no key of a study; give the folder `key` that `mrunfold review --blinded` wrote"
        )
    beside = path.with_name("study.json")
    try:
        about = json.loads(read_text_file(beside))
        study, questions = about["study"], about["questions"]
        if not isinstance(study, str) or not all(isinstance(q, str) for q in questions):
            raise ValueError
    except FileNotFoundError:
        raise InputError(f"{beside} is missing; it belongs to the key, give both") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{beside} is damaged; take it from where the study was kept") from None
    cases: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["side"] == "B" and row["case"] in cases:
            cases[row["case"]].update({f"{name}_B": row[name] for name in IMAGE_COLUMNS})
        else:
            cases.setdefault(row["case"], {}).update(row)
    in_order = [str(n) for n in range(1, len(cases) + 1)] == [case["position"] for case in cases.values()]
    if not rows or not in_order or len(rows) != sum(2 if c["kind"] == "pair" else 1 for c in cases.values()):
        raise InputError(f"{path} is damaged; take it from where the study was kept")
    return _Key(study, tuple(questions), cases)


def _read_ratings(path: Path, key: _Key) -> tuple[str, list[dict[str, str]]]:
    """Return the reader and a row for every case of the study, or raise InputError."""
    header, rows = _read_csv(path, "give the files that readers saved from the page")
    if header != key.header:
        raise InputError(
            f"{path} does not have the columns of study {key.study}; give the file as the page saved it"
        )
    for line, row in enumerate(rows, start=2):
        reason = _fault(row, rows[0]["reader"], key)
        if reason:
            raise InputError(f"{path}: row {line}: {reason}; give the file as the page saved it")
    in_order = [row["position"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    if sorted(row["case"] for row in rows) != sorted(key.cases) or not in_order:
        raise InputError(
            f"{path} does not hold each of the study's {len(key.cases)} cases once; give the file as the "
            "page saved it"
        )
    return rows[0]["reader"], rows


def _fault(row: dict[str, str], reader: str, key: _Key) -> str | None:
    """Return what is wrong with a reader's row, None if nothing is."""
    if row["study"] != key.study:
        return f"another study than {key.study}"
    if row["reader"] != reader or not READER.fullmatch(reader):
        return "more than one reader, or a code that is none"
    if row["case"] not in key.cases:
        return "a case that is not in the key"
    if row["preference"] not in ("", *PREFERENCES):
        return "the preference is not -2 to 2 or empty"
    wrong = next((q for q in key.questions if row[q] not in ("", *map(str, range(1, HIGHEST + 1)))), None)
    if wrong is not None:
        return f"the rating of '{wrong}' is not 1 to {HIGHEST} or empty"
    return None if _is_duration(row["seconds"]) else "its seconds are no number"


def _is_duration(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) >= 0
    except ValueError:
        return False


def _read_csv(path: Path, way_out: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the header and the rows of a CSV file, each as long as the header."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {way_out}")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path} has {path.stat().st_size} bytes, more than any study's; {way_out}")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header, *lines = list(csv.reader(file, strict=True))
    except (ValueError, csv.Error):  # not UTF-8, empty, or broken quotes
        raise InputError(f"{path} is no readable CSV file; {way_out}") from None
    if len(set(header)) != len(header) or any(len(line) != len(header) for line in lines):
        raise InputError(f"{path} is no readable CSV file: rows differ in length; {way_out}")
    return header, [dict(zip(header, line, strict=True)) for line in lines]
