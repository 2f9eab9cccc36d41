"""Which cases a reading study has: scores, cases shown twice, pairs side by side, and some for practice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrunfold.errors import InputError

__all__ = ["Kind", "Planned", "plan"]

Kind = Literal["training", "score", "pair"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """A case: kind; rows: its images as rows of the key, two for a pair; repeats: number of the case that it
    shows again, counted in the plan, None where it is the first time."""

    kind: Kind
    rows: tuple[Row, ...]
    repeats: int | None = None


def plan(
    rows: Sequence[Row],
    rng: np.random.Generator,
    *,
    repeats: int = 0,
    pairs: bool = False,
    training: bool = False,
) -> list[Planned]:
    """Return the cases of a study in the page's order: training, scores, those shown again, pairs.

    rows: one an image, each with its `scan`; repeats: so many of the scored cases are shown twice; pairs: any
    two images of a scan are shown side by side as well, sides drawn; training: one scan, drawn, is to
    practise on and is scored nowhere else.  The page draws the order for each reader.  Raises InputError
    where there are too few images.
    """
    order = [rows[i] for i in rng.permutation(len(rows))]
    scans = list(dict.fromkeys(row["scan"] for row in order))
    aside = None
    if training:
        if len(scans) < 2:
            raise InputError("`training` sets one scan aside, and there is only one; give results of another")
        aside = scans[int(rng.integers(len(scans)))]
    cases = [Planned("training", (row,)) for row in order if row["scan"] == aside and training]
    scored = [row for row in order if row["scan"] != aside or not training]
    first = len(cases)
    cases += [Planned("score", (row,)) for row in scored]
    if repeats > len(scored):
        raise InputError(f"`repeats` {repeats} is more than the {len(scored)} cases there are; give fewer")
    for number in sorted(int(i) for i in rng.choice(len(scored), repeats, replace=False)):
        cases.append(Planned("score", (scored[number],), first + number))
    if pairs:
        cases += _pairs(scored, rng)
    return cases


def _pairs(scored: Sequence[Row], rng: np.random.Generator) -> list[Planned]:
    groups: dict[Any, list[Row]] = {}
    for row in scored:
        groups.setdefault(row["scan"], []).append(row)
    found = []
    for group in groups.values():
        for one, other in itertools.combinations(group, 2):
            found.append(Planned("pair", (one, other) if rng.integers(2) else (other, one)))
    if not found:
        raise InputError("`pairs` needs two results of one scan; reconstruct one with another method too")
    return [found[i] for i in rng.permutation(len(found))]
