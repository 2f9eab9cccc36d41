"""`mrunfold info` and `mrunfold sample`."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, letter_f, write_cfl, write_fastmri, write_mrd
from typer.testing import CliRunner

from mrunfold.cli import main


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((48, 40))] * 2), coils=3, readout=96)


def test_sample_and_what_info_says_of_it(tmp_path):
    path = tmp_path / "sample.h5"
    assert "simulated" in run("sample", path, "--coils", 2, "--slices", 1)
    said = run("info", path)
    for words in (
        "fastMRI",
        "512×218",
        "2× along the readout, 512 → 256",
        "256×218 pixels of 1×1 mm",
        "all samples",
    ):
        assert words in said
    assert "data crimes   simulated data" in said
    assert "geometry      unknown" in said


def test_sample_with_wrong_numbers(tmp_path):
    result = CliRunner().invoke(main.app, ["sample", str(tmp_path / "a.h5"), "--coils", "0"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_undersampled_file(tmp_path, kspace):
    mask = np.arange(40) % 4 == 0
    mask[16:24] = True
    said = run("info", write_fastmri(tmp_path / "a.h5", kspace, crop=(48, 40), mask=mask))
    assert "R = 4 with 9 reference lines, 16 of 40 lines (1 of 2.5)" in said
    assert "slices        2" in said
    assert "coils         3" in said


def test_padding_is_no_acceleration(tmp_path, kspace):
    kspace[..., :5] = 0
    path = write_fastmri(tmp_path / "a.h5", kspace, crop=(48, 40))
    xml = header_xml(kspace, (48, 40)).replace(
        "<maximum>39</maximum><center>20", "<maximum>34</maximum><center>15"
    )
    with h5py.File(path, "r+") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = xml
    assert "all samples; lines 5 to 39 of 40, rest is zero filling" in run("info", path)


def test_the_other_formats(tmp_path, kspace):
    assert "BART" in run("info", write_cfl(tmp_path / "a.cfl", kspace[0]))
    frame = tuple(np.eye(3))
    path = write_mrd(tmp_path / "b.h5", kspace, (48, 40), frame=frame, positions=np.zeros((2, 3)))
    said = run("info", path)
    assert "ISMRMRD" in said
    assert "geometry      known" in said


def test_no_patient(tmp_path, kspace):
    path = write_fastmri(tmp_path / "a.h5", kspace)
    assert "CANARY" not in run("info", path)


def test_bad_input_is_one_line(tmp_path):
    result = CliRunner().invoke(main.app, ["info", str(tmp_path / "missing.h5")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
