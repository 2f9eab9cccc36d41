"""The benchmark of masks: that it measures what it says; the ratio itself is not asserted."""

from __future__ import annotations

import pytest

from mrunfold.benchmarks.speed.masks import MaskTiming, masks_table, run


def test_table_has_both_and_says_where_sigpy_gives_up():
    easy, hard = masks_table([((64, 64), 2.0), ((96, 96), 8.0)], repeats=1)
    assert easy.delivered == pytest.approx(2, rel=0.02)
    assert easy.sigpy_delivered == pytest.approx(2, rel=0.1)
    assert easy.ratio == easy.sigpy_seconds / easy.seconds
    assert hard.delivered == pytest.approx(8, rel=0.02)
    assert (hard.sigpy_seconds, hard.ratio) == (None, None)


def test_run_prints_the_ratio(monkeypatch, capsys):
    rows = [
        MaskTiming((320, 320), 8.0, 0.02, 8.0, 2.0, 7.96),
        MaskTiming((96, 96), 8.0, 0.01, 8.0, None, None),
    ]
    monkeypatch.setattr("mrunfold.benchmarks.speed.masks.masks_table", lambda: rows)
    monkeypatch.setattr("mrunfold.benchmarks.speed.masks.compilation_seconds", lambda: 1.25)
    run()
    printed = capsys.readouterr().out
    assert "100.0×" in printed
    assert "cannot generate" in printed
    assert "1.2 s more" in printed
