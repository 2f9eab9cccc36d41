"""`bench samples`: what it says of draws follows from the draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrunfold.benchmarks.datasets import scanned
from mrunfold.benchmarks.quality.draws import FACTORS, DrawsRow, markdown, measure, summary
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
