"""What compression costs is measured on one target, and its table says what was found."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from mrunfold.benchmarks.datasets import scanned
from mrunfold.benchmarks.quality import compression
from mrunfold.benchmarks.store import save_measured
from mrunfold.benchmarks.tables import markdown


@pytest.fixture(scope="module")
def found():
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = ((y**2 + x**2 < 0.5) * (1 + 0.5 * (x > 0))).astype(np.complex64)
    said = []
    measured = compression.measure([scanned(disc, "disc", coils=12)], [("poisson", 3.0)], report=said.append)
    assert len(said) == 1
    return measured


def test_fewer_coils_are_judged_by_the_image_of_all(found):
    (row,) = found["rows"]
    assert row["coils"][0] == 12
    assert 1 < row["coils"][1] <= 12
    assert all(math.isfinite(db) and db > 20 for db in row["psnr"])
    assert abs(row["psnr"][1] - row["psnr"][0]) < 1  # a target of its own for each would hide the loss
    assert found["threads"] == torch.get_num_threads()


def test_the_file_makes_the_table(found, tmp_path):
    save_measured(found, tmp_path / "compression.json")
    assert json.loads((tmp_path / "compression.json").read_text())["bench"] == "compression"
    (table,) = markdown([tmp_path / "compression.json"])
    (row,) = found["rows"]
    change = row["psnr"][1] - row["psnr"][0]
    assert f"| disc | poisson 3 | 12 → {row['coils'][1]} | {row['psnr'][0]:.2f} | {change:+.2f} |" in table
