"""Statistics of a study against published examples and what must come out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mrunfold.review import agreement
from mrunfold.review.agreement import measure

pytest.importorskip("statsmodels", reason="statsmodels is not installed: pip install '.[study]'")
pytest.importorskip("pingouin", reason="pingouin is not installed: pip install '.[study]'")


def row(reader: str, scan: int, method: str, rating: object, **more: str) -> dict[str, str]:
    one = {"reader": reader, "case": f"{scan}{method}", "kind": "score", "repeat_of": "", "preference": ""}
    one |= {"input_sha256": f"{scan:064d}", "stack": "1", "method": method, "method_B": "", "seconds": "10"}
    return one | {"Q": str(rating)} | more


def rows_of(ratings: np.ndarray, methods: str = "ab") -> list[dict[str, str]]:
    """From ratings (reader, scan, method)."""
    return [
        row(f"R{r}", s, methods[m], int(ratings[r, s, m]))
        for r, s, m in itertools.product(*map(range, ratings.shape))
    ]


def found(lines, name: str, of: str | None = None):
    return [line for line in lines if line.measure == name and of in (None, line.of)]


def test_fleiss_as_he_published_it():
    # Fleiss 1971's formula on the example of Wikipedia's article: 10 subjects, 14 raters, kappa 0.210.
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]]
    counts += [[7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    table = np.array([np.repeat(np.arange(1, 6), line) for line in counts], float)
    assert agreement._fleiss(table) == pytest.approx(0.210, abs=5e-4)


def test_the_icc_of_shrout_and_fleiss():
    # Shrout and Fleiss 1979, table 2: ICC(2,1) = 0.29.
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    line = agreement._icc(np.array(table, float), "Q", {"cases": 6, "readers": 4})
    assert line.value == pytest.approx(0.29, abs=5e-3)
    assert line.low < line.value < line.high


def test_kappa_by_hand():
    # Cohen 1968: 1 − Σ w o / Σ w e with w = (i − j)².
    one, two = np.array([1, 1, 2, 3, 5, 4]), np.array([1, 2, 2, 3, 4, 4])
    disagreed = np.mean((one - two) ** 2)
    by_chance = np.mean((one[:, None] - two[None]) ** 2)
    kappa, low, high = agreement._weighted_kappa(one.astype(float), two.astype(float))
    assert kappa == pytest.approx(1 - disagreed / by_chance)
    assert low < kappa < high


def test_no_interval_of_kappa_goes_beyond_one():
    _, _, high = agreement._weighted_kappa(np.array([2.0, 4.0, 4.0]), np.array([2.0, 4.0, 5.0]))
    assert high == 1.0  # by its standard error it would be 1.09


def test_perfect_readers_and_a_method_that_is_better():
    rng = np.random.default_rng(0)
    base = rng.integers(1, 4, size=12)
    ratings = np.stack([np.stack([base + 1, base], axis=1)] * 3)
    lines = measure(rows_of(ratings), ["Q"])
    assert [line.value for line in found(lines, "weighted kappa")] == [1.0] * 3
    assert found(lines, "Fleiss' kappa")[0].value == pytest.approx(1)
    assert found(lines, "ICC")[0].value == pytest.approx(1)
    (line,) = found(lines, "difference of methods", "a − b")
    assert (line.value, line.cases, line.readers) == (1.0, 12, 3)
    assert line.p < 0.01
    assert line.p_holm == line.p  # one test
    assert all(line.value == 2 for line in found(lines, "scans that a next study needs"))


def test_chance_is_found_as_often_as_it_should():
    """Two methods that do not differ: the interval of their difference holds 0 in about 95 %."""
    held, tried = 0, 120
    for seed in range(tried):
        ratings = np.random.default_rng(seed).integers(1, 6, size=(2, 15, 2))
        lines = list(agreement._methods(rows_of(ratings), "Q"))
        held += lines[0].low <= 0 <= lines[0].high
    assert 0.88 <= held / tried <= 0.99


def test_repeated_readings_pairs_training_and_open_answers():
    ratings = np.random.default_rng(1).integers(1, 6, size=(2, 8, 2))
    rows = rows_of(ratings)
    again = [dict(one, case=one["case"] + "x", repeat_of=one["case"]) for one in rows[:6]]
    pairs = [
        row(f"R{r}", s, *sides, "", kind="pair", preference=p)
        for r in range(2)
        for s in range(8)
        for sides, p in [(("a",), "-2")]
    ]
    for number, one in enumerate(pairs):
        one["method_B"] = "b"
        if number % 2:  # the other way round: the same preference
            one |= {"method": "b", "method_B": "a", "preference": "2"}
    practice = [dict(one, kind="training", Q="5") for one in rows[:4]]
    lines = measure([*rows, *again, *pairs, *practice], ["Q"])
    assert lines == measure([*rows, *again, *pairs], ["Q"])  # practice does not count
    (line,) = found(lines, "weighted kappa, repeated reading")
    assert (line.of, line.value, line.cases) == ("R0", 1.0, 6)
    (line,) = found(lines, "preference")
    assert (line.of, line.value, line.cases) == ("a before b", 2.0, 8)
    (line,) = found(lines, "share of wins")
    assert line.value == 1.0
    assert 0.7 < line.low < line.high == 1.0
    rows[0]["Q"] = ""  # a case that one reader left open is compared in no test
    (line,) = found(measure(rows, ["Q"]), "difference of methods")
    assert line.cases == 7


def test_holm_counts_all_tests_of_the_study():
    ratings = np.random.default_rng(3).integers(1, 6, size=(2, 10, 3))
    lines = found(measure(rows_of(ratings, "abc"), ["Q"]), "difference of methods")
    assert len(lines) == 3
    assert min(line.p_holm for line in lines) == pytest.approx(min(1.0, 3 * min(line.p for line in lines)))


def test_the_size_of_the_next_study():
    # A paired t-test, SD 1, difference 0.5, power 0.8, alpha 0.05: 34 (G*Power; Cohen 1988).
    assert agreement._scans_needed(0.0, 1.0, 0.0, 1) == 34
    assert agreement._scans_needed(0.0, 0.0, 1.0, 2) < agreement._scans_needed(0.0, 0.0, 1.0, 1)
    assert agreement._scans_needed(1.0, 0.0, 0.0, 1) is None  # no number of scans makes up for one reader


def test_the_variances_are_those_that_made_the_differences():
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(40):
        table = rng.normal(0, 0.5, (1, 4)) + rng.normal(0, 0.8, (30, 1)) + rng.normal(0, 0.3, (30, 4))
        drawn.append(agreement._variances(table))
    np.testing.assert_allclose(np.mean(drawn, axis=0), [0.25, 0.64, 0.09], rtol=0.25)


def test_too_little_is_said_and_is_no_number():
    lines = measure([row("R1", 0, "a", 3), row("R1", 0, "b", 4)], ["Q"])
    for name in ("Fleiss' kappa", "ICC", "difference of methods", "scans that a next study needs"):
        (line,) = found(lines, name)
        assert line.value is None
        assert "needs" in line.how
