"""What `info` says of the lines that were acquired."""

from __future__ import annotations

import numpy as np
import pytest
from rawfiles import coil_kspace, write_fastmri
from typer.testing import CliRunner

from mrunfold.cli import main


def said(tmp_path, keep: np.ndarray) -> str:
    kspace = coil_kspace(np.ones((1, 32, len(keep)), np.float32), coils=2, noise=1e-2) * keep
    path = write_fastmri(tmp_path / "lines.h5", kspace, rss=False, mask=keep.astype(np.float32))
    result = CliRunner().invoke(main.app, ["info", str(path)])
    assert result.exit_code == 0, result.output
    return next(line for line in result.output.splitlines() if line.strip().startswith("acquired"))


@pytest.mark.parametrize(("step", "reference"), [(2, 16), (3, 25), (4, 12)])
def test_equal_steps_and_reference_lines(tmp_path, step, reference):
    keep = np.zeros(96, bool)
    keep[48 % step :: step] = True
    keep[48 - reference // 2 : 48 - reference // 2 + reference] = True
    width = int(np.flatnonzero(~keep[48:])[0] + np.flatnonzero(~keep[:48][::-1])[0])
    words = said(tmp_path, keep)
    assert f"R = {step} with " in words
    assert abs(int(words.split("with ")[1].split()[0]) - width) <= 1
    assert f"{keep.sum()} of 96 lines" in words


def test_random_lines_have_no_step(tmp_path):
    keep = np.random.default_rng(0).random(96) < 0.3
    keep[40:56] = True
    assert "R =" not in said(tmp_path, keep)
    assert "fully sampled centre" in said(tmp_path, keep)
