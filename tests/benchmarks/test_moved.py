"""Two files of rows: what both have is compared, and what moved too far is told by the exit code."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mrunfold.benchmarks.quality.moved import markdown, moved
from mrunfold.benchmarks.quality.scans import Row, save
from mrunfold.cli.main import app
from mrunfold.errors import InputError

ROW = Row("scan#0", False, 8, "poisson", 4.0, 4.0, 0, 0.01, "unfold", None, 30.0, 0.9, 1, 1.0)


def test_the_difference_is_now_minus_before_of_what_both_have():
    now = [replace(ROW, psnr=30.25), replace(ROW, seed=1), replace(ROW, method="tv", psnr=29.0)]
    before = [ROW, replace(ROW, method="tv")]
    found = moved(before, now)
    assert list(found.values()) == [0.25, -1.0]
    assert "| tv | 1 | -1.0000 | -1.0000 |" in markdown(found)
    with pytest.raises(InputError, match="in common"):
        moved([ROW], [replace(ROW, seed=2)])


@pytest.mark.parametrize(("psnr", "code"), [(30.009, 0), (30.02, 1), (29.98, 1), (math.nan, 1)])
def test_the_exit_code_says_whether_rows_moved(tmp_path, psnr, code):
    save([ROW], tmp_path / "before.json")
    save([replace(ROW, psnr=psnr)], tmp_path / "now.json")
    result = CliRunner().invoke(
        app, ["bench", "moved", str(tmp_path / "before.json"), str(tmp_path / "now.json")]
    )
    assert result.exit_code == code, result.output
