"""What `recon` says of an image by samples that were held out, and the method that it chooses by them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, write_fastmri
from typer.testing import CliRunner

from mrunfold.cli import main

MASKED = ("--mask", "poisson", "--accel", "4", "--no-cache")


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (64, 48)), indexing="ij")
    head = ((y / 0.85) ** 2 + (x / 0.7) ** 2 < 1) + 0.8 * ((y / 0.3) ** 2 + (x / 0.2) ** 2 < 1)
    images = np.stack([head * (1 + 0.1 * s) for s in range(5)]).astype(np.float32) * 1e-4
    return write_fastmri(tmp_path_factory.mktemp("raw") / "scan.h5", coil_kspace(images, 4, 1e-6))


def recon(scan: Path, out: Path, *options: str) -> tuple[str, dict]:
    result = CliRunner().invoke(main.app, ["recon", str(scan), "--out", str(out), *MASKED, *options])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split()), json.loads((out / "record.json").read_text())


def test_a_method_that_predicts_nothing_is_not_to_be_believed(tmp_path, scan):
    said, record = recon(scan, tmp_path / "out", "--method", "zero_filled")
    assert record["check"]["verdict"].startswith("do not believe")
    assert any(flag.startswith("do not believe") for flag in record["flags"])
    assert "do not believe" in said
    assert "look at --method sense or auto as well" in said
    assert "no map: zero_filled makes none; --method unfold does" in said
    with h5py.File(tmp_path / "out" / "recon.h5") as file:
        assert json.loads(file.attrs["check"])["verdict"] == record["check"]["verdict"]


def test_the_method_that_failed_is_not_recommended(tmp_path, scan):
    said, _ = recon(scan, tmp_path / "out", "--method", "sense", "--param", "lamda=1e9", "--slices", "0")
    assert "do not believe" in said
    assert "look at --method auto as well" in said


def test_a_few_slices_spread_over_the_volume_are_checked(tmp_path, scan):
    said, record = recon(scan, tmp_path / "out", "--method", "sense", "--check", "2")
    assert record["check"]["verdict"] == "agrees with what was measured"
    assert sorted(record["check"]["slices"]) == ["1", "3"]
    for one in record["check"]["slices"].values():
        assert one["explained"] > 0.5
        assert one["held_out"] > 10
    assert "agrees with what was measured" in said


def test_without_a_check_the_record_says_so(tmp_path, scan):
    _, record = recon(scan, tmp_path / "out", "--method", "sense", "--check", "0")
    assert record["check"] == {"verdict": "not checked: it was not asked for", "slices": {}}


def test_the_check_changes_no_image(tmp_path, scan):
    for name, count in (("a", "0"), ("b", "5")):
        recon(scan, tmp_path / name, "--method", "sense", "--check", count, "--slices", "1:3")
    volumes = [h5py.File(tmp_path / name / "recon.h5")["reconstruction"][()] for name in "ab"]
    np.testing.assert_array_equal(*volumes)


def test_auto_says_what_it_chose_and_why(tmp_path, scan):
    candidates = ("--param", "candidates=('zero_filled','sense')", "--slices", "2")
    _, record = recon(scan, tmp_path / "out", "--method", "auto", *candidates)
    chosen = record["slices"][0]["method"]
    assert chosen["chosen"] == "sense"
    assert chosen["missed_db"]["zero_filled"] > 1
    assert record["check"]["slices"]["2"]["explained"] > 0.5
