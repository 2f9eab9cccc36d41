"""`mrunfold bench check`: how well held-out samples rank methods, and what choosing by them costs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.benchmarks import store
from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.quality.conditions import Condition
from mrunfold.benchmarks.quality.judge import Judge
from mrunfold.errors import InputError
from mrunfold.masks import draw
from mrunfold.methods import get_method
from mrunfold.methods.base import Method
from mrunfold.methods.held_out import RIVAL, Look, best_of, hold_out, looks, told
from mrunfold.networks.weights import load_weights
from mrunfold.prepare import build_problem

__all__ = ["CheckRow", "load", "markdown", "measure", "save", "summary", "tables"]

APART = 0.3  # dB: pairs of methods that differ less are not ranked
DRAWS = 2000  # of the bootstrap over scans
LAMDAS = (0.002, 0.01)


@dataclass(frozen=True)
class CheckRow:
    """One scan under one mask: what each candidate is worth, and what held-out samples say of it.

    rss: PSNR of the root sum of squares over the object, dB; missed: energy of the held-out samples that was
    not predicted, one number a split; energy: all of theirs, of each split; seconds: of the candidates on the
    whole scan, and of one split.  verdict: of the first candidate, as `check` has it; condition: what was
    done to the scan; weights: the start of their sha256.
    """

    data: str
    mask: str
    accel: float
    candidates: tuple[str, ...]
    rss: tuple[float, ...]
    missed: tuple[tuple[float, ...], ...]
    verdict: str
    seconds: tuple[float, float]
    condition: str = "plain"
    weights: str = ""
    energy: tuple[float, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this row from the others."""
        return self.condition, self.data, self.mask, self.accel, len(self.missed), self.weights


def candidates(weights: str | None) -> dict[str, Method]:
    """Return the methods that are compared: ours, as it is and with one pass, SENSE, TV and L1-wavelet."""
    found = {"unfold": get_method("unfold", weights=weights)}
    found["unfold passes=1"] = get_method("unfold", weights=weights, passes=1)
    found[RIVAL] = get_method(RIVAL, max_iter=30)
    for name in ("tv", "l1_wavelet"):
        found |= {f"{name} {lamda:g}": get_method(name, lamda=lamda) for lamda in LAMDAS}
    return found


def measure(
    scans: Iterable[tuple[FullSlice, Condition]],
    kinds: Sequence[tuple[str, float]],
    *,
    weights: str | None = None,
    splits: int = 2,
    report: Callable[[CheckRow], None] = lambda row: None,
    done: Sequence[CheckRow] = (),
) -> list[CheckRow]:
    """Return a row for each scan of which samples can be held out; each takes the next mask of `kinds`.

    Rows of an earlier run in `done` are taken as they are; report gets each row when it is there.
    """
    methods = candidates(weights)
    digest = load_weights(weights)[1]["sha256"][:12]
    known = {row.key: row for row in done}
    rows = []
    for (full, condition), (kind, accel) in zip(scans, itertools.cycle(kinds)):
        key = (condition.name, full.name, kind, accel, splits, digest)
        row = known.get(key) or _one(full, condition, (kind, accel), methods, splits, digest)
        if row is None:
            continue
        rows.append(row)
        report(row)
    return rows


def _one(
    full: FullSlice,
    condition: Condition,
    kind: tuple[str, float],
    methods: dict[str, Method],
    splits: int,
    weights: str,
) -> CheckRow | None:
    changed = condition.change(full)
    calibration = None if condition.calibration is None else condition.calibration(full)
    size = changed.kspace.shape[-2:]
    mask = draw(kind[0], size, kind[1], seed=0)
    try:
        problem = build_problem(
            changed.kspace, changed.header, mask, acquired=np.ones(size, bool), calibration=calibration
        )
        held = [hold_out(problem, split) for split in range(splits)]
    except InputError as error:  # too small a centre, or too few lines: said, and left out
        print(f"{full.name} {kind[0]} R={kind[1]:g}: {error}", flush=True)
        return None
    judge = Judge.of((changed if condition.truth_too else full).kspace, problem)
    began = time.perf_counter()
    rss = tuple(judge.rss(method(problem).mean) for method in methods.values())
    whole = time.perf_counter() - began
    found = [[h.predicted(m(h.kept).mean) for m in methods.values()] for h in held]
    each = (time.perf_counter() - began - whole) / splits
    first, rival = next(iter(methods.values())), methods[RIVAL]

    def look(split: int) -> Look:
        if split < splits:
            return Look(held[split], found[split][0], found[split][list(methods).index(RIVAL)])
        one = hold_out(problem, split)
        return Look(one, one.predicted(first(one.kept).mean), one.predicted(rival(one.kept).mean))

    said = told(looks(look), "in full")["verdict"]
    missed = tuple(tuple(p.missed for p in split) for split in found)
    energy = tuple(split[0].energy for split in found)
    return CheckRow(
        full.name, *kind, tuple(methods), rss, missed, said, (whole, each), condition.name, weights, energy
    )


def save(rows: Sequence[CheckRow], path: Path, earlier: Sequence[CheckRow] = ()) -> None:
    """Write the rows, and those of an earlier run that they do not replace."""
    store.save_rows(store.merged(rows, earlier, lambda row: row.key), path, **store.about("check"))


def load(path: Path) -> list[CheckRow]:
    """Read the rows that `save` wrote."""
    return store.load_rows(path, _row, "check")[0]


def _row(**values: Any) -> CheckRow:
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    given["missed"] = tuple(tuple(split) for split in values["missed"])
    return CheckRow(**given)


def summary(rows: Sequence[CheckRow]) -> dict[str, Any]:
    """Return how often pairs are ranked right, what choosing loses against the best, and the verdicts.

    auc: share of pairs of methods, more than 0.3 dB apart, whose missed energies have the order of their true
    errors, with a 95 % interval by a bootstrap over scans; loss: of what `auto` would take against the best
    candidate, dB, mean and worst; first: the same for the first candidate always; verdicts: how often each
    verdict, and among these how often the first candidate was worse than SENSE.
    """
    scans = [_pairs(row) for row in rows]
    rng = np.random.default_rng(0)
    right, count = (np.array([part[i] for part in scans], float) for i in range(2))
    draws = rng.integers(0, len(rows), (DRAWS, len(rows)))
    shares = right[draws].sum(axis=1) / np.maximum(count[draws].sum(axis=1), 1)
    loss = [max(row.rss) - row.rss[_choice(row)] for row in rows]
    first = [max(row.rss) - row.rss[0] for row in rows]
    worse: dict[str, list[bool]] = {row.verdict: [] for row in rows}
    for row in rows:
        worse[row.verdict].append(row.rss[0] < row.rss[row.candidates.index(RIVAL)])
    return {
        "scans": len(rows),
        "pairs": int(count.sum()),
        "auc": float(right.sum() / max(count.sum(), 1)),
        "interval": [float(np.quantile(shares, q)) for q in (0.025, 0.975)],
        "loss": [float(np.mean(loss)), float(np.max(loss))],
        "first": [float(np.mean(first)), float(np.max(first))],
        "verdicts": {text: [len(v), int(np.sum(v))] for text, v in worse.items()},
    }


def _choice(row: CheckRow) -> int:
    """Return the candidate that `auto` would take; rows of old files know no energy."""
    return best_of([sum(one) for one in zip(*row.missed, strict=True)], sum(row.energy) or np.inf)


def _pairs(row: CheckRow) -> tuple[int, int]:
    """Return how many pairs are ranked right, and how many there are."""
    total = np.sum(row.missed, axis=0)
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(len(total)), 2)
        if abs(row.rss[a] - row.rss[b]) > APART
    ]
    return sum(bool((total[a] < total[b]) == (row.rss[a] > row.rss[b])) for a, b in pairs), len(pairs)


def markdown(found: dict[str, Any]) -> str:
    """Return the rows of a file as Markdown tables, see `tables`."""
    return "\n".join(tables(found))


def tables(found: dict[str, Any]) -> list[str]:
    """Return the rows of a file as two Markdown tables: all scans and each condition, and the verdicts."""
    rows = [_row(**dict(row)) for row in found["rows"]]
    groups = {"all": rows}
    for name in dict.fromkeys(row.condition for row in rows):
        groups[name] = [row for row in rows if row.condition == name]
    lines = [_line(name, summary(mine)) for name, mine in groups.items()]
    head = ["scans", "n", "pairs", "ranked right (95 % interval)", "loss of the choice, mean / worst"]
    table = rows_markdown([*head, "of unfold always"], lines)
    said = [
        [text, str(n), str(worse), _spread([row.rss[0] for row in rows if row.verdict == text])]
        for text, (n, worse) in summary(rows)["verdicts"].items()
    ]
    head = [
        "verdict",
        "scans",
        "unfold truly worse than SENSE",
        "RSS score of unfold, dB (least to most)",
    ]
    return [table, rows_markdown(head, said)]


def _spread(values: Sequence[float]) -> str:
    return f"{np.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _line(name: str, found: dict[str, Any]) -> list[str]:
    low, high = found["interval"]
    return [
        name,
        str(found["scans"]),
        str(found["pairs"]),
        f"{found['auc']:.3f} ({low:.3f} to {high:.3f})",
        f"{found['loss'][0]:.2f} / {found['loss'][1]:.2f} dB",
        f"{found['first'][0]:.2f} / {found['first'][1]:.2f} dB",
    ]
