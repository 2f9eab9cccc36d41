"""`bench check`: ranking, regret and verdicts are counted as said."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.benchmarks.datasets import scanned
from mrunfold.benchmarks.quality import verdicts
from mrunfold.benchmarks.quality.verdicts import CheckRow, markdown, measure, summary
from mrunfold.methods import get_method
from mrunfold.phantoms.bodies import body


def row(rss: tuple[float, ...], missed: tuple[float, ...], said: str = "agrees") -> CheckRow:
    return CheckRow("a", "random", 4.0, ("unfold", "sense", "tv"), rss, (missed,), said, (1.0, 1.0))


def test_pairs_loss_and_verdicts():
    found = summary([row((30, 28, 29), (1, 3, 2)), row((25, 28, 27.8), (3, 2, 1), "do not believe")])
    assert found["pairs"] == 5  # 28 and 27.8 are not apart
    assert found["auc"] == 1.0
    assert found["loss"] == pytest.approx([0.1, 0.2])
    assert found["first"] == pytest.approx([1.5, 3.0])
    assert found["verdicts"] == {"agrees": [1, 0], "do not believe": [1, 1]}
    assert "1.000" in markdown(found)


def test_wrong_orders_count_against_it():
    found = summary([row((30, 28, 26), (3, 2, 1))])
    assert found["auc"] == 0.0
    assert found["loss"] == [4.0, 4.0]


def test_a_scan_is_measured(monkeypatch: pytest.MonkeyPatch):
    few = {name: get_method(name) for name in ("zero_filled", "sense")}
    monkeypatch.setattr(verdicts, "candidates", lambda weights: few)
    full = scanned(body("knee", (64, 56)), "knee", 6, 0.004)
    rows = measure([full], [("poisson", 4.0), ("random", 40.0)])
    assert [r.mask for r in rows] == ["poisson"], "a mask without a centre is left out"
    assert rows[0].verdict.startswith("do not believe")
    assert np.shape(rows[0].missed) == (2, 2)
    assert summary(rows)["auc"] == 1.0
