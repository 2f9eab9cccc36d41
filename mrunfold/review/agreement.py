"""What a reading study says: agreement of readers, differences of methods, the size of the next study.

Kappa is of Cohen (quadratic weights) and Fleiss (statsmodels), the intraclass correlation that of Shrout and
Fleiss for two-way random readers, one rating, absolute agreement (pingouin), tests are scipy's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.review.study import HIGHEST

__all__ = ["FIELDS", "MARGIN", "Line", "measure"]

FIELDS = ("measure", "question", "of", "value", "low", "high", "p", "p_holm", "cases", "readers", "how")
MARGIN = 0.5  # points: the difference of two methods that a next study is to find
POWER, ALPHA = 0.8, 0.05
MOST_CASES, MOST_READERS = 1000, 6
DRAWS = 2000  # of the bootstrap
Row = Mapping[str, str]


@dataclass(frozen=True)
class Line:
    """A number with its 95 % interval; `of` whom or what; how it was computed.  None: it cannot be, and `how`
    says why."""

    measure: str
    question: str
    of: str
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    cases: int = 0
    readers: int = 0
    how: str = ""


def measure(rows: Sequence[Row], questions: Sequence[str], seed: int = 0) -> list[Line]:
    """Return the lines of a study, in their order: agreement, repeated readings, methods, pairs, sizes, time.

    rows: of join_ratings; cases to practise on and open answers are left out, and of a test the scans that a
    method, or a reader, lacks.  seed: of the bootstrap.  Raises InputError without statsmodels and pingouin.
    """
    try:
        import pingouin  # noqa: F401
        import statsmodels  # noqa: F401
    except ImportError:
        raise InputError(
            "kappa and ICC need statsmodels and pingouin; pip install 'mrunfold[study]'"
        ) from None
    rows = [row for row in rows if row["kind"] != "training"]
    scores = [row for row in rows if row["kind"] == "score"]
    first = [row for row in scores if not row["repeat_of"]]
    lines: list[Line] = []
    tests: list[Line] = []
    for question in questions:
        lines += _agreement(first, question, seed)
        lines += _repeated(scores, question)
        tests += _methods(first, question)
    tests += _pairs([row for row in rows if row["kind"] == "pair"])
    lines += _holm(tests)
    for question in questions:
        lines += _sizes(first, question)
    return [*lines, *_times(rows)]


def _table(rows: Sequence[Row], question: str) -> tuple[list[str], np.ndarray]:
    """Return readers and their ratings (case, reader) of the cases that all of them rated."""
    readers = sorted({row["reader"] for row in rows})
    cases: dict[str, dict[str, str]] = {}
    for row in rows:
        cases.setdefault(row["case"], {})[row["reader"]] = row[question]
    whole = [[one[r] for r in readers] for one in cases.values() if all(one.get(r) for r in readers)]
    return readers, np.array(whole, float).reshape(len(whole), len(readers))


def _weighted_kappa(one: np.ndarray, two: np.ndarray) -> tuple[float, float, float] | None:
    """Return Cohen's kappa with quadratic weights and its interval; None where nobody varies."""
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = np.zeros((HIGHEST, HIGHEST))
    np.add.at(counts, (one.astype(int) - 1, two.astype(int) - 1), 1)
    if len(set(one) | set(two)) < 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        found = cohens_kappa(counts, wt="quadratic")
    # With few cases the normal interval goes beyond what kappa can be; what is not finite stays so.
    low, high = np.clip((found.kappa_low, found.kappa_upp), -1.0, 1.0)
    return float(found.kappa), float(low), float(high)


def _line_of_kappa(name: str, question: str, of: str, one: np.ndarray, two: np.ndarray, readers: int) -> Line:
    how = "Cohen's kappa, quadratic weights; interval by its standard error, within ±1"
    found = _weighted_kappa(one, two) if len(one) > 1 else None
    if found is None:
        why = "too few cases, or all equal"
        return Line(name, question, of, None, cases=len(one), readers=readers, how=why)
    value, low, high = _finite(found)
    return Line(name, question, of, value, low, high, cases=len(one), readers=readers, how=how)


def _finite(values: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(v if math.isfinite(v) else None for v in values)


def _agreement(rows: Sequence[Row], question: str, seed: int) -> Iterator[Line]:
    readers, table = _table(rows, question)
    for a, b in itertools.combinations(range(len(readers)), 2):
        pair = [row for row in rows if row["reader"] in (readers[a], readers[b])]
        _, both = _table(pair, question)
        of = f"{readers[a]} and {readers[b]}"
        yield _line_of_kappa("weighted kappa", question, of, both[:, 0], both[:, 1], 2)
    size: dict[str, Any] = {"cases": len(table), "readers": len(readers)}
    if len(readers) < 2 or len(table) < 2 or len(np.unique(table)) < 2:
        why = "needs two readers who rated two cases in full, not all alike"
        yield Line("Fleiss' kappa", question, "all readers", None, **size, how=why)
        yield Line("ICC", question, "all readers", None, **size, how=why)
        return
    low, high = _bootstrap(table, _fleiss, seed)
    how = f"Fleiss' kappa; {DRAWS} bootstrap draws over cases"
    yield Line("Fleiss' kappa", question, "all readers", _fleiss(table), low, high, **size, how=how)
    yield _icc(table, question, size)


def _fleiss(table: np.ndarray) -> float:
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    counts, _ = aggregate_raters(table.astype(int), n_cat=None)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(fleiss_kappa(counts))


def _bootstrap(
    table: np.ndarray, statistic: Callable[[np.ndarray], float], seed: int
) -> tuple[float | None, float | None]:
    rng = np.random.default_rng(seed)
    draws = [statistic(table[rng.integers(len(table), size=len(table))]) for _ in range(DRAWS)]
    whole = [draw for draw in draws if math.isfinite(draw)]  # a draw of equal ratings has no kappa
    if not whole:
        return None, None
    low, high = np.percentile(whole, [2.5, 97.5])
    return float(low), float(high)


def _icc(table: np.ndarray, question: str, size: Mapping[str, Any]) -> Line:
    import warnings

    import pandas
    import pingouin

    cases, readers = table.shape
    if cases < 5:  # pingouin's own bound
        why = "needs five cases that all readers rated"
        return Line("ICC", question, "all readers", None, **size, how=why)
    frame = pandas.DataFrame(
        {
            "case": np.repeat(np.arange(cases), readers),
            "reader": np.tile(np.arange(readers), cases),
            "rating": table.ravel(),
        }
    )
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # readers who agree in everything, and what pandas says to pingouin
        found = pingouin.intraclass_corr(data=frame, targets="case", raters="reader", ratings="rating")
    one = found[found["Type"].isin(["ICC(A,1)", "ICC2"])].iloc[0]  # the name changed in pingouin 0.6
    low, high = (float(v) for v in one[next(c for c in found.columns if c.startswith("CI95"))])
    how = "ICC(2,1): two-way random readers, one rating, absolute agreement"
    interval = _finite((float(one["ICC"]), low, high))
    return Line("ICC", question, "all readers", interval[0], interval[1], interval[2], **size, how=how)


def _repeated(rows: Sequence[Row], question: str) -> Iterator[Line]:
    """Agreement of each reader with himself, over the cases that were shown twice."""
    given = {(row["reader"], row["case"]): row[question] for row in rows}
    for reader in sorted({row["reader"] for row in rows if row["repeat_of"]}):
        both = [
            (float(given[reader, row["repeat_of"]]), float(row[question]))
            for row in rows
            if row["reader"] == reader and row["repeat_of"] and row[question]
            if given.get((reader, row["repeat_of"]))
        ]
        one, two = np.array(both).reshape(len(both), 2).T
        yield _line_of_kappa("weighted kappa, repeated reading", question, reader, one, two, 1)


def _differences(rows: Sequence[Row], question: str) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """Yield `A − B`, readers and differences (scan, reader) for any two methods, of scans that all rated."""
    readers = sorted({row["reader"] for row in rows})
    given: dict[tuple[Any, ...], float] = {}
    for row in rows:
        if row[question]:
            given[_scan(row), row["method"], row["reader"]] = float(row[question])
    scans = sorted({key[0] for key in given})
    for a, b in itertools.combinations(sorted({key[1] for key in given}), 2):
        whole = [
            [given[s, a, r] - given[s, b, r] for r in readers]
            for s in scans
            if all((s, m, r) in given for m in (a, b) for r in readers)
        ]
        yield f"{a} − {b}", readers, np.array(whole).reshape(len(whole), len(readers))


def _scan(row: Row) -> tuple[str, str]:
    return row["input_sha256"], row["stack"]


def _methods(rows: Sequence[Row], question: str) -> Iterator[Line]:
    for of, readers, table in _differences(rows, question):
        yield _paired("difference of methods", question, of, table, len(readers), "points")


def _paired(name: str, question: str, of: str, table: np.ndarray, readers: int, unit: str) -> Line:
    """Mean over scans of the readers' mean, its t interval and Wilcoxon's signed-rank test."""
    from scipy import stats

    size: dict[str, Any] = {"cases": len(table), "readers": readers}
    if len(table) < 2:
        return Line(name, question, of, None, **size, how="needs two scans that all readers rated")
    means = table.mean(axis=1)
    how = f"mean {unit} over scans; t interval; Wilcoxon signed-rank test, two-sided; readers as they are"
    if not means.any():
        return Line(name, question, of, 0.0, **size, p=1.0, how=how + "; all are 0")
    low = high = float(means[0])
    if np.ptp(means) > 0:
        low, high = map(float, stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means)))
    p = float(stats.wilcoxon(means).pvalue)
    return Line(name, question, of, float(means.mean()), low, high, p, **size, how=how)


def _pairs(rows: Sequence[Row]) -> Iterator[Line]:
    """Preference of one method before another, side by side: positive where the first is better."""
    from statsmodels.stats.proportion import proportion_confint

    groups: dict[str, dict[tuple[Any, ...], float]] = {}
    for row in rows:
        if row["preference"]:
            names = (row["method"], row["method_B"])
            sign = -1 if names == tuple(sorted(names)) else 1
            of = " before ".join(sorted(names))
            groups.setdefault(of, {})[_scan(row), row["reader"]] = sign * float(row["preference"])
    for of, given in sorted(groups.items()):
        readers = sorted({reader for _, reader in given})
        scans = sorted({s for s, _ in given if all((s, r) in given for r in readers)})
        table = np.array([[given[s, r] for r in readers] for s in scans]).reshape(len(scans), len(readers))
        yield _paired("preference", "", of, table, len(readers), "preference (-2 to 2)")
        decided = [v for v in given.values() if v]
        wins = sum(v > 0 for v in decided)
        size: dict[str, Any] = {"cases": len(scans), "readers": len(readers)}
        if not decided:
            yield Line("share of wins", "", of, None, **size, how="every answer was equal")
            continue
        low, high = proportion_confint(wins, len(decided), method="wilson")
        how = f"{wins} of {len(decided)} answers that were not equal; Wilson interval, answers as independent"
        yield Line("share of wins", "", of, wins / len(decided), float(low), float(high), **size, how=how)


def _holm(lines: Sequence[Line]) -> list[Line]:
    """Return the lines with Holm's p over all tests of the study."""
    from dataclasses import replace

    from statsmodels.stats.multitest import multipletests

    tested = [line for line in lines if line.p is not None]
    if not tested:
        return list(lines)
    adjusted = iter(multipletests([line.p for line in tested], method="holm")[1])
    return [line if line.p is None else replace(line, p_holm=float(next(adjusted))) for line in lines]


def _sizes(rows: Sequence[Row], question: str) -> Iterator[Line]:
    """How many scans a next study needs with 1, 2, … readers to find MARGIN between two methods.

    Differences are reader + scan + rest; the variances are those of a two-way analysis (statsmodels).
    """
    name, aim = "scans that a next study needs", f"difference {MARGIN:g}, power {POWER:g}, alpha {ALPHA:g}"
    for of, _, table in _differences(rows, question):
        scans, readers = table.shape
        size: dict[str, Any] = {"cases": scans, "readers": readers}
        if scans < 3 or readers < 2:
            why = "needs two readers who rated three scans in full"
            yield Line(name, question, of, None, **size, how=why)
            continue
        of_readers, of_scans, rest = _variances(table)
        for count in range(1, MOST_READERS + 1):
            wanted = _scans_needed(of_readers, of_scans, rest, count)
            how = f"{count} readers; {aim}"
            if wanted is None:
                how += f"; more than {MOST_CASES}: readers differ too much, take more of them"
            value = None if wanted is None else float(wanted)
            yield Line(name, question, f"{of}, {count} readers", value, **size, how=how)


def _variances(table: np.ndarray) -> tuple[float, float, float]:
    """Return the variances of readers, scans and the rest, of differences (scan, reader)."""
    import pandas
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    scans, readers = table.shape
    scan, reader = (index.ravel() for index in np.indices(table.shape))
    frame = pandas.DataFrame({"difference": table.ravel(), "scan": scan, "reader": reader})
    squares = anova_lm(ols("difference ~ C(scan) + C(reader)", frame).fit())["mean_sq"]
    rest = float(squares["Residual"])
    of_scans = max(0.0, (float(squares["C(scan)"]) - rest) / readers)
    return max(0.0, (float(squares["C(reader)"]) - rest) / scans), of_scans, rest


def _scans_needed(of_readers: float, of_scans: float, rest: float, readers: int) -> int | None:
    """Return the smallest number of scans with which a t-test of the mean difference has the power."""
    from statsmodels.stats.power import TTestPower

    for scans in range(2, MOST_CASES + 1):
        variance = of_readers / readers + of_scans / scans + rest / (readers * scans)
        if variance < 1e-12:  # nothing varies but the last digit
            return 2
        if scans > 20 and 2.8 * math.sqrt(variance) > MARGIN:  # far from it: spare the exact power
            continue
        effect = MARGIN / math.sqrt(variance * scans)
        if TTestPower().power(effect, scans, ALPHA) >= POWER:
            return scans
    return None


def _times(rows: Sequence[Row]) -> Iterator[Line]:
    for reader in sorted({row["reader"] for row in rows}):
        seconds = [float(row["seconds"]) for row in rows if row["reader"] == reader]
        low, middle, high = np.percentile(seconds, [25, 50, 75])
        how = "median; low and high are quartiles"
        middle, low, high = float(middle), float(low), float(high)
        yield Line("seconds a case", "", reader, middle, low, high, cases=len(seconds), readers=1, how=how)
