"""How coils are compressed and calibrated, from the command line to the record."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri
from typer.testing import CliRunner

from mrunfold.cli import main

SENSE = ["--method", "sense", "--mask", "random", "--accel", "2", "--calibration", "16", "--no-cache"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    kspace = coil_kspace(letter_f((64, 60))[None], coils=12, noise=1e-3)
    return write_fastmri(tmp_path_factory.mktemp("scan") / "coils.h5", kspace)


def run(scan, out, *arguments: str):
    result = CliRunner().invoke(main.app, ["recon", str(scan), "--out", str(out), *SENSE, *arguments])
    assert result.exit_code == 0, result.output
    with h5py.File(out / "recon.h5") as file:
        image = file["reconstruction"][()]
    return image, json.loads((out / "record.json").read_text())["slices"][0]["problem"]["coils"]


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_twelve_coils_are_compressed_unless_told_otherwise(tmp_path, scan):
    image, coils = run(scan, tmp_path / "auto")
    assert coils["virtual"] < 12
    assert coils["energy"] >= 0.995
    whole, untouched = run(scan, tmp_path / "all", "--coils", "all")
    assert "virtual" not in untouched
    assert relative(image, whole) < 0.02


def test_sigpys_maps_give_the_same_image(tmp_path, scan):
    ours, _ = run(scan, tmp_path / "torch")
    theirs, _ = run(scan, tmp_path / "sigpy", "--maps", "sigpy")
    assert 0 < relative(ours, theirs) < 0.02


def test_two_sets_of_maps_make_one_image(tmp_path, scan):
    image, _ = run(scan, tmp_path / "two", "--map-sets", "2")
    one, _ = run(scan, tmp_path / "one")
    assert image.shape == one.shape
    assert relative(image, one) < 0.2, "the object fits: the second set has little to say"


def test_what_cannot_be_is_one_line(tmp_path, scan):
    for wrong in (["--coils", "few"], ["--maps", "bart"], ["--maps", "sigpy", "--map-sets", "2"]):
        result = CliRunner().invoke(
            main.app, ["recon", str(scan), "--out", str(tmp_path / "no"), *SENSE, *wrong]
        )
        assert result.exit_code == 2
        assert len(result.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "no").exists()
