"""`bench samples`: what it says of draws follows from the draws."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mrunfold.benchmarks.datasets import scanned
from mrunfold.benchmarks.quality.draws import FACTORS, PREDICTED, DrawsRow, load, markdown, measure, summary
from mrunfold.benchmarks.store import save_measured
from mrunfold.errors import InputError
from mrunfold.phantoms.bodies import body

ROW = DrawsRow(
    *("a", "random", 4.0, "reverse process, 8 levels", 16, 240, 24.0, 0.5, 0.8, 2.0, 8.0, 2.4, 3.0),
    covered=tuple(np.linspace(0.5, 1.0, len(FACTORS))),
)


def test_ways_are_compared_with_the_first_on_the_same_problem():
    fast = replace(ROW, way="around the mean, 2 levels", evaluations=18, seconds=2.0, crps=1.0, coverage=0.9)
    other = [replace(row, data="b", crps=2 * row.crps) for row in (ROW, fast)]
    found = summary([ROW, fast, *other])
    assert [way["way"] for way in found["ways"]] == [ROW.way, fast.way]
    assert found["ways"][1]["ratio"] == 0.5
    assert found["ways"][1]["times"] == 4.0
    assert found["ways"][0]["coverage"] == [0.8, 0.8, 0.8]
    assert np.interp(found["ways"][0]["factor"], FACTORS, ROW.covered) == pytest.approx(0.9)
    assert "| around the mean, 2 levels | 16 | 18 | 4.0 | 0.900" in markdown(found)


def test_a_factor_that_is_out_of_reach_is_none():
    found = summary([replace(ROW, covered=(0.95,) * len(FACTORS))])
    assert found["ways"][0]["factor"] is None
    assert "—" in markdown(found)


def test_a_scan_is_measured():
    full = scanned(body("knee", (64, 56)), "knee", 4, 0.004)
    ways = ("around the mean, 2 levels, not widened", "around the mean, 2 levels")
    rows = measure([full], [("poisson", 4.0)], 4, ways=ways)
    assert rows[0].evaluations == 2 * (2 + 1)
    assert rows[1].evaluations > 3 * rows[0].evaluations, "and the same of two problems, with their means"
    assert rows[0].coverage != rows[1].coverage
    for row in rows:
        assert 0 < row.coverage < 1
        assert row.covered[FACTORS.index(1.0)] == pytest.approx(row.coverage, abs=0.01)
        assert list(row.covered) == sorted(row.covered)
        assert 0 < row.crps < row.error + row.std


def test_a_way_that_is_none_is_refused():
    with pytest.raises(InputError, match="no way to draw is called 'fast'"):
        measure([], [], 2, ways=("fast",))


def test_a_predicted_sd_is_measured_beside_draws():
    full = scanned(body("knee", (64, 56)), "knee", 4, 0.004)
    ways = ("around the mean, 2 levels, not widened", PREDICTED)
    rows = measure([full], [("poisson", 4.0)], 8, ways=ways)
    drawn, predicted = rows
    assert (predicted.draws, predicted.evaluations) == (0, 0)
    assert predicted.like_draws is not None
    assert -1 < predicted.like_draws < 1
    assert predicted.covered[FACTORS.index(1.0)] == predicted.coverage
    assert list(predicted.covered) == sorted(predicted.covered)
    assert predicted.error == drawn.error
    assert predicted.width == pytest.approx(2 * 1.645 * predicted.std, rel=1e-3)
    assert measure([full], [("poisson", 4.0)], 8, ways=ways, done=rows) == rows


def test_rows_of_other_weights_are_measured_again(monkeypatch):
    full = scanned(body("knee", (64, 56)), "knee", 4, 0.004)
    rows = measure([full], [("poisson", 4.0)], 2, ways=(PREDICTED,))
    old = [replace(rows[0], weights="0" * 64, coverage=0.123)]
    assert measure([full], [("poisson", 4.0)], 2, ways=(PREDICTED,), done=old)[0].coverage == rows[0].coverage


def test_a_file_is_read_again_and_one_of_before_too(tmp_path):
    newer = replace(ROW, way=PREDICTED, weights="a" * 64, like_draws=0.5)
    save_measured(summary([ROW, newer]), tmp_path / "both.json")
    assert load(tmp_path / "both.json") == [ROW, newer]
    content = json.loads((tmp_path / "both.json").read_text())
    for row in content["rows"]:
        del row["weights"], row["like_draws"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert load(tmp_path / "old.json")[0] == ROW
    (tmp_path / "none.json").write_text(json.dumps({"bench": "samples", "rows": [{"a": 1}]}))
    with pytest.raises(InputError, match="not a table of bench samples"):
        load(tmp_path / "none.json")
