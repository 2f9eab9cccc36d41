"""A Siemens file through the commands: info, recon with samples, batch over a folder."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f
from twixfiles import protocol, readouts_of, write_twix
from typer.testing import CliRunner

from mrunfold.cli import main

BASE, LINES = 48, 40


@pytest.fixture
def path(tmp_path):
    kspace = coil_kspace(np.stack([letter_f((BASE, LINES))] * 2), 3, readout=2 * BASE)
    noise = np.random.default_rng(0).standard_normal((2, 3, 400))
    adjust = [(noise[0] + 1j * noise[1], {"flags": ["NOISEADJSCAN"]})]
    scans = [
        (protocol(16, 16, name="AdjCoilSens"), adjust),
        (protocol(BASE, LINES), readouts_of(kspace.conj())),
    ]
    (tmp_path / "raw").mkdir()
    return write_twix(tmp_path / "raw" / "meas.dat", scans)


def said(*arguments: object) -> str:
    result = CliRunner().invoke(main.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_info_says_what_is_in_it(path):
    text = said("info", path)
    for words in (
        "Siemens twix .dat",
        "96 → 48 samples",
        "48×40 pixels of 1×1 mm, 5 mm thick",
        "400 samples a coil",
    ):
        assert words in text
    assert "known: position and direction" in text


def test_recon_with_samples(tmp_path, path):
    options = ["--mask", "random", "--accel", "2", "--samples", "2", "--steps", "2", "--no-cache"]
    said("recon", path, *options, "--out", tmp_path / "result")
    with h5py.File(tmp_path / "result" / "recon.h5") as file:
        assert file["reconstruction"].shape == file["std"].shape == (2, BASE, LINES)
    record = json.loads((tmp_path / "result" / "record.json").read_text())
    assert record["input"]["format"] == "twix"
    assert record["slices"][0]["problem"]["noise"]["source"] == "noise scan"


def test_a_folder_of_them_in_a_batch(tmp_path, path):
    said("batch", path.parent, "--method", "sense", "--no-cache", "--out", tmp_path / "done")
    with h5py.File(tmp_path / "done" / "meas.h5") as file:
        image = file["reconstruction"][0]
    inside = letter_f((BASE, LINES)) > 0
    assert image[inside].mean() > 10 * image[~inside].mean()
