"""`batch --dicom`: an export beside each volume, kept while it is whole and of that volume."""

from __future__ import annotations

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.export.manifest import check_sums


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, name in enumerate("ab"):
        kspace = coil_kspace(letter_f((32, 32))[None], seed=number)
        write_fastmri(folder / f"{name}.h5", kspace)
    return folder


def batch(raw, out, *more, code=0) -> str:
    arguments = [
        "batch",
        str(raw),
        "--out",
        str(out),
        "--method",
        "zero_filled",
        "--no-cache",
        "--dicom",
        *more,
    ]
    done = CliRunner().invoke(main.app, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_exports_are_written_once_and_follow_their_volumes(tmp_path, raw):
    out = tmp_path / "out"
    assert "2 volumes written, 0 kept" in batch(raw, out)
    before = {p: p.stat().st_mtime_ns for p in out.glob("*_dicom/dicom/*/*.dcm")}
    assert len(before) == 2
    assert "0 volumes written, 2 kept" in batch(raw, out)
    assert {p: p.stat().st_mtime_ns for p in out.glob("*_dicom/dicom/*/*.dcm")} == before
    damaged = next((out / "a_dicom").rglob("*.dcm"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    (out / ".b_dicom.0123abcd.part").mkdir()  # of a process that was killed
    assert "1 volumes written, 1 kept" in batch(raw, out)
    assert damaged.read_bytes() == content
    assert not list(out.glob(".*.part"))
    # Other raw data: another volume, another export.
    write_fastmri(raw / "b.h5", coil_kspace(np.fliplr(letter_f((32, 32)))[None]))
    assert "1 volumes written, 1 kept" in batch(raw, out)
    # None at all: no volume, and no export that seems to be of it.
    (raw / "b.h5").write_bytes(b"nothing")
    assert "0 volumes written, 1 kept" in batch(raw, out, code=1)
    assert not (out / "b_dicom").exists()
    assert check_sums(out / "a_dicom") == 2


def test_a_folder_in_the_way_is_not_touched(tmp_path, raw):
    (tmp_path / "out" / "a_dicom").mkdir(parents=True)
    (tmp_path / "out" / "a_dicom" / "thesis.docx").write_text("mine")
    batch(raw, tmp_path / "out", code=2)
    assert (tmp_path / "out" / "a_dicom" / "thesis.docx").read_text() == "mine"
