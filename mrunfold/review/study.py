"""A reading study: images under code names in random order, and the key in another folder."""

from __future__ import annotations

import csv
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.export import open_reconstruction, radiological_view, versions, write_json
from mrunfold.io.folder import result_folder
from mrunfold.io.source import sha256_of
from mrunfold.io.tables import FORMULA, safe_cell
from mrunfold.review.cases import WINDOW, Case, Panel, Progress, load
from mrunfold.review.page import asset, case_data, html
from mrunfold.review.plan import Planned, plan
from mrunfold.review.volumes import Volume

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
# Of an image: a pair has two rows, side A and B; repeat_of: the case that is shown again.
IMAGE_COLUMNS = ("result", "dataset", "stack", "method", "input_sha256", "result_sha256")
KEY_COLUMNS = ("position", "case", "kind", "repeat_of", "side", *IMAGE_COLUMNS)
# What readers give for a pair: from -2, A is clearly better, to 2, B is.
PREFERENCES = ("-2", "-1", "0", "1", "2")
# Names of columns in what readers save; a question of one of these names could not be told from it.
TAKEN = {*KEY_COLUMNS, *(f"{name}_B" for name in IMAGE_COLUMNS)}
TAKEN |= {"study", "reader", "preference", "comment", "seconds"}


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
    repeats: int = 0,
    pairs: bool = False,
    training: bool = False,
    progress: Progress | None = None,
) -> Study:
    """Write a blinded study of all results under `folder` to the new folder `final`, whole or not at all.

    seed: of cases, sides and code names, drawn where None and kept with the key; the page draws the order of
    cases anew for each reader.  reference: show each scan's reference among the cases, once.  repeats,
    pairs, training: as `plan` has them.  The page holds nothing but images, pixel sizes, edges and questions.
    Raises InputError where there are no results, one cannot be read, or `final` exists: its key may be the
    only one.
    """
    _check(final, questions)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    rng = np.random.default_rng(seed)
    cases = plan(_results(folder, reference), rng, repeats=repeats, pairs=pairs, training=training)
    if len(cases) > MOST_CASES:
        raise InputError(
            f"{len(cases)} cases are more than a page can hold ({MOST_CASES}); make several studies"
        )
    codes = _codes(rng, len(cases))
    shown = [(c.kind, c.repeats, [row["result_sha256"] for row in c.rows]) for c in cases]
    name = hashlib.sha256(f"{seed} {shown}".encode()).hexdigest()[:8]
    text = _page(folder, name, cases, codes, questions, progress)
    with result_folder(final, ours=()) as work:
        (work / "for_readers").mkdir()
        (work / "key").mkdir()
        (work / "for_readers" / "study.html").write_bytes(text.encode("utf-8"))
        _write_key(work / "key" / "key.csv", cases, codes)
        about = {"study": name, "seed": seed, "questions": list(questions), "cases": len(cases)}
        about |= {"mrunfold_version": versions(["mrunfold"])["mrunfold"] or "unknown"}
        about |= {"page_sha256": sha256_of(work / "for_readers" / "study.html")}
        write_json(work / "key" / "study.json", about)
    return Study(final / "for_readers" / "study.html", final / "key" / "key.csv", seed, len(cases))


def _page(
    folder: Path,
    name: str,
    cases: Sequence[Planned],
    codes: Sequence[str],
    questions: Sequence[str],
    progress: Progress | None,
) -> str:
    """Return the page for readers, as HTML; what is shown again is in it once."""
    volumes: list[Volume] = []
    items: list[dict[str, Any]] = []
    for number, (planned, code) in enumerate(zip(cases, codes, strict=True), start=1):
        if planned.repeats is None:
            item = case_data(_case(folder, planned.rows, code), volumes)
        else:
            item = items[planned.repeats] | {"title": code}
            item["panels"] = [panel | {"title": f"Case {code}"} for panel in item["panels"]]
        items.append(item | {"kind": planned.kind, "after": planned.repeats})
        if progress is not None:
            progress(number, len(cases))
    data = {
        "title": f"Reading study {name} · research use, not for diagnosis",
        "study": name,
        "questions": list(questions),
        "cases": items,
    }
    body = asset("assets/study.html").replace("@STUDY@", escape(name))
    scripts = ("assets/volumes.js", "assets/panel.js", "assets/viewer.js", "assets/study.js")
    styles = ("assets/page.css", "assets/study.css")
    return html(body, data, volumes, scripts, styles, versions(["mrunfold"])["mrunfold"] or "unknown").text


def _check(final: Path, questions: Sequence[str]) -> None:
    if final.exists():
        raise InputError(f"{final} exists already and its key may be the only one; choose another `out`")
    if not final.parent.is_dir():
        raise InputError(f"cannot write {final}: no folder {final.parent}; create it first")
    if not 1 <= len(questions) <= MOST_QUESTIONS or len(set(questions)) != len(questions):
        raise InputError(f"give 1 to {MOST_QUESTIONS} different questions, got {len(questions)}")
    if any(not q.strip() or len(q) > 80 or not q.isprintable() for q in questions):
        raise InputError("a question is 1 to 80 printable characters; shorten it")
    if taken := TAKEN & set(questions):
        raise InputError(f"'{min(taken)}' is the name of a column of its own; word the question differently")
    if wrong := [q for q in questions if q.lstrip().startswith(FORMULA)]:
        raise InputError(
            f"'{wrong[0]}' would be a formula in a spreadsheet; begin the question with a letter or digit"
        )


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
                    row |= {"input_sha256": result.digest, "result_sha256": digest}
                    rows.append(row | {"scan": (*scan, stack)})
    if not rows:
        raise InputError(
            f"{folder} holds no results (recon.h5 or volumes of `batch`); reconstruct into it first"
        )
    return rows


def _codes(rng: np.random.Generator, count: int) -> list[str]:
    """Return different code names of four letters."""
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes["".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=4))] = None
    return list(codes)


def _case(folder: Path, rows: Sequence[dict[str, Any]], code: str) -> Case:
    """Return the case of one image, or of two that stand side by side."""
    panels = []
    for number, row in enumerate(rows):
        with open_reconstruction(folder / row["result"]) as result:
            stack = result.stacks[row["stack"] - 1]
            volume = load(result, row["dataset"])[list(stack.slices)]
            view = radiological_view(result.header.geometry and result.header.geometry.take(stack.slices))
        # Brightness must not tell which file a volume is from: each is shown over its own range.
        volume = volume / np.float32(float(volume.max()) or 1.0)
        title = f"Case {code}" if len(rows) == 1 else f"Case {code}, {'AB'[number]}"
        panels.append(Panel("recon" if number == 0 else "recon2", title, "image", (volume,)))
    return Case(
        title=code,
        panels=tuple(panels),
        view=view,
        places=(tuple(range(len(panels[0].frames[0]))),),
        voxel_mm=stack.voxel_mm,
        lps=None,
        window=max(float(np.percentile(p.frames[0], WINDOW)) for p in panels) or 1.0,
        top=1.0,
    )


def _write_key(path: Path, cases: Sequence[Planned], codes: Sequence[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, KEY_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for position, (case, code) in enumerate(zip(cases, codes, strict=True), start=1):
            again = "" if case.repeats is None else codes[case.repeats]
            for side, row in zip("AB" if len(case.rows) == 2 else ("",), case.rows, strict=True):
                about = {"position": position, "case": code, "kind": case.kind, "repeat_of": again}
                row = row | about | {"side": side}
                writer.writerow({key: safe_cell(value) for key, value in row.items()})
