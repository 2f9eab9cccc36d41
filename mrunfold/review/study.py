"""A reading study: images under code names in random order, and the key in another folder."""

from __future__ import annotations

import csv
import hashlib
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.export import open_reconstruction, radiological_view, versions, write_json
from mrunfold.io.source import sha256_of
from mrunfold.review.cases import WINDOW, Case, Panel, Progress, load
from mrunfold.review.page import asset, case_data, html

__all__ = ["HIGHEST", "KEY_COLUMNS", "QUESTIONS", "Study", "write_study"]

QUESTIONS = (
    "Sharpness of anatomy",
    "Freedom from noise",
    "Freedom from artefacts",
    "Confidence in what is seen",
    "Overall quality",
)
# No vowels, so that no code is a word; no letters that look alike.
LETTERS = "BCDFGHKMNPQRTVWX"
MOST_CASES = 500
MOST_QUESTIONS = 12
HIGHEST = 5  # ratings go from 1 to it
KEY_COLUMNS = ("position", "case", "result", "dataset", "stack", "method", "input_sha256", "result_sha256")
# Names of columns in what readers save; a question of one of these names could not be told from it.
TAKEN = {*KEY_COLUMNS, "study", "reader", "comment", "seconds"}


@dataclass(frozen=True)
class Study:
    """What was written: the reader's page, the key, the seed that made order and codes, and their number."""

    page: Path
    key: Path
    seed: int
    cases: int


def write_study(
    folder: Path,
    final: Path,
    *,
    seed: int | None = None,
    questions: Sequence[str] = QUESTIONS,
    reference: bool = False,
    progress: Progress | None = None,
) -> Study:
    """Write a blinded study of all results under `folder` to the new folder `final`, whole or not at all.

    seed: of order and code names, drawn where None and kept with the key; reference: show each scan's
    reference among the cases, once.  The page holds nothing but images, pixel sizes, edges and questions.
    Raises InputError where there are no results, one cannot be read, or `final` exists: its key may be the
    only one.
    """
    _check(final, questions)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    found = _results(folder, reference)
    rng = np.random.default_rng(seed)
    order = [found[i] for i in rng.permutation(len(found))]
    codes = _codes(rng, len(found))
    name = hashlib.sha256(f"{seed} {[row['result_sha256'] for row in order]}".encode()).hexdigest()[:8]
    volumes: list[bytes] = []
    cases = []
    for number, (row, code) in enumerate(zip(order, codes, strict=True), start=1):
        cases.append(case_data(_case(folder, row, code), volumes))
        if progress is not None:
            progress(number, len(order))
    version = versions(["mrunfold"])["mrunfold"] or "unknown"
    data = {
        "title": f"Reading study {name} · research use, not for diagnosis",
        "study": name,
        "questions": list(questions),
        "cases": cases,
    }
    body = asset("assets/study.html").replace("@STUDY@", escape(name))
    scripts, styles = ("assets/viewer.js", "assets/study.js"), ("assets/page.css", "assets/study.css")
    text = html(body, data, volumes, scripts, styles, version)
    work = final.parent / f".{final.name}.{secrets.token_hex(4)}.part"
    try:
        (work / "for_readers").mkdir(parents=True)
        (work / "key").mkdir()
        (work / "for_readers" / "study.html").write_bytes(text.encode("utf-8"))
        _write_key(work / "key" / "key.csv", order, codes)
        about = {"study": name, "seed": seed, "questions": list(questions), "cases": len(order)}
        about |= {"mrunfold_version": version, "page_sha256": sha256_of(work / "for_readers" / "study.html")}
        write_json(work / "key" / "study.json", about)
        work.rename(final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return Study(final / "for_readers" / "study.html", final / "key" / "key.csv", seed, len(order))


def _check(final: Path, questions: Sequence[str]) -> None:
    if final.exists():
        raise InputError(f"{final} exists already and its key may be the only one; choose another --out")
    if not final.parent.is_dir():
        raise InputError(f"cannot write {final}: no folder {final.parent}; create it first")
    if not 1 <= len(questions) <= MOST_QUESTIONS or len(set(questions)) != len(questions):
        raise InputError(f"give 1 to {MOST_QUESTIONS} different questions, got {len(questions)}")
    if any(not q.strip() or len(q) > 80 or not q.isprintable() for q in questions):
        raise InputError("a question is 1 to 80 printable characters; shorten it")
    if taken := TAKEN & set(questions):
        raise InputError(f"'{min(taken)}' is the name of a column of its own; word the question differently")


def _results(folder: Path, reference: bool) -> list[dict[str, Any]]:
    """Return a row of the key for every case, in the order of paths, without codes."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that holds results of `recon` or `batch`")
    rows: list[dict[str, Any]] = []
    seen = set()
    for path in sorted(folder.rglob("*.h5")):
        with open_reconstruction(path) as result:
            digest = sha256_of(path)
            datasets = ["reconstruction"]
            scan = (result.digest, result.slices, result.kind)
            if reference and "target" in result.names and scan not in seen:
                seen.add(scan)
                datasets.append("target")
            for dataset in datasets:
                for stack in range(len(result.stacks)):
                    row = {
                        "result": path.relative_to(folder).as_posix(),
                        "dataset": dataset,
                        "stack": stack + 1,
                    }
                    row["method"] = result.method if dataset == "reconstruction" else "reference"
                    rows.append(row | {"input_sha256": result.digest, "result_sha256": digest})
    if not rows:
        raise InputError(
            f"{folder} holds no results (recon.h5 or volumes of `batch`); reconstruct into it first"
        )
    if len(rows) > MOST_CASES:
        raise InputError(
            f"{len(rows)} cases are more than a page can hold ({MOST_CASES}); make several studies"
        )
    return rows


def _codes(rng: np.random.Generator, count: int) -> list[str]:
    """Return different code names of four letters."""
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes["".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=4))] = None
    return list(codes)


def _case(folder: Path, row: dict[str, Any], code: str) -> Case:
    with open_reconstruction(folder / row["result"]) as result:
        stack = result.stacks[row["stack"] - 1]
        volume = load(result, row["dataset"])[list(stack.slices)]
        # Brightness must not tell which file a volume is from: each is shown over its own range.
        top = float(volume.max()) or 1.0
        volume = volume / np.float32(top)
        return Case(
            title=code,
            panels=(Panel("recon", f"Case {code}", "image", (volume,)),),
            view=radiological_view(result.header.geometry),
            places=tuple(range(len(volume))),
            voxel_mm=stack.voxel_mm,
            lps=None,
            window=float(np.percentile(volume, WINDOW)) or 1.0,
            top=1.0,
        )


def _write_key(path: Path, order: Sequence[dict[str, Any]], codes: Sequence[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, KEY_COLUMNS)
        writer.writeheader()
        for position, (row, code) in enumerate(zip(order, codes, strict=True), start=1):
            writer.writerow(row | {"position": position, "case": code})
