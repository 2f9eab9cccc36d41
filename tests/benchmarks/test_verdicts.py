"""`bench check`: ranking, regret and verdicts are counted as said."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mrunfold.benchmarks.datasets import full_slices, scanned
from mrunfold.benchmarks.quality import verdicts
from mrunfold.benchmarks.quality.conditions import CONDITIONS, condition_of
from mrunfold.benchmarks.quality.verdicts import CheckRow, load, markdown, measure, save, summary
from mrunfold.benchmarks.store import read_measured
from mrunfold.errors import InputError
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


def test_wrong_orders_count_against_it():
    found = summary([row((30, 28, 26), (3, 2, 1))])
    assert found["auc"] == 0.0
    assert found["loss"] == [4.0, 4.0]


def test_a_scan_is_measured(monkeypatch: pytest.MonkeyPatch):
    few = {name: get_method(name) for name in ("zero_filled", "sense")}
    monkeypatch.setattr(verdicts, "candidates", lambda weights: few)
    full = scanned(body("knee", (64, 56)), "knee", 6, 0.004)
    plain = CONDITIONS["plain"]
    rows = measure([(full, plain), (full, plain)], [("poisson", 4.0), ("random", 40.0)])
    assert [r.mask for r in rows] == ["poisson"], "a mask without a centre is left out"
    assert rows[0].verdict.startswith("do not believe")
    assert np.shape(rows[0].missed) == (2, 2)
    assert summary(rows)["auc"] == 1.0


def test_a_run_goes_on_from_its_file(tmp_path, monkeypatch: pytest.MonkeyPatch):
    few = {name: get_method(name) for name in ("zero_filled", "sense")}
    monkeypatch.setattr(verdicts, "candidates", lambda weights: few)
    full = scanned(body("knee", (64, 56)), "knee", 6, 0.004)
    scans = [(full, CONDITIONS["plain"]), (full, CONDITIONS["wrong maps"])]
    rows = measure(scans, [("poisson", 4.0)])
    save(rows, tmp_path / "check.json")
    again = load(tmp_path / "check.json")
    assert again == rows
    monkeypatch.setattr(verdicts, "build_problem", None)  # nothing is measured twice
    assert measure(scans, [("poisson", 4.0)], done=again) == rows
    table = markdown(read_measured(tmp_path / "check.json", "check"))
    assert "| wrong maps | 1 |" in table
    sense = few_index(rows[0])
    assert rows[1].rss[sense] < rows[0].rss[sense] - 3, "maps of another place cost SENSE more than 3 dB"


def few_index(found: CheckRow) -> int:
    return found.candidates.index("sense")


@pytest.mark.parametrize("name", ["moved", "spiked"])
def test_conditions_change_samples_and_keep_the_truth(name):
    full = scanned(body("knee", (64, 56)), "knee", 6, 0.004)
    condition = condition_of(name)
    changed = condition.change(full)
    assert not condition.truth_too
    differs = (changed.kspace != full.kspace).any(axis=0)
    assert 0 < differs.mean() < 0.5
    np.testing.assert_array_equal(condition.change(full).kspace, changed.kspace)
    if name == "moved":
        np.testing.assert_allclose(np.abs(changed.kspace), np.abs(full.kspace), rtol=1e-4, atol=1e-5)


def test_an_unknown_condition_is_refused():
    with pytest.raises(InputError, match="choose of plain, hann"):
        condition_of("warm")


def test_photographs_are_scans(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    (full,) = full_slices(tmp_path)
    assert full.kspace.shape == (8, 256, 200)
    assert full.simulated
