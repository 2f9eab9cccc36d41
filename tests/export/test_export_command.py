"""`mrunfold export`: whole or not at all, only over its own, and every later change is found."""

from __future__ import annotations

import json
import shutil
import subprocess

import nibabel
import numpy as np
import pytest
from exported import make_header, random_volumes, write_result
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.export.manifest import check_sums, write_sums


@pytest.fixture
def result(tmp_path):
    folder = tmp_path / "scan_unfold"
    folder.mkdir()
    header = make_header((12, 9), 2)
    write_result(folder / "recon.h5", header, random_volumes(header))
    return folder


def run(*arguments) -> str:
    done = CliRunner().invoke(main.app, ["export", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments) -> str:
    done = CliRunner().invoke(main.app, ["export", *map(str, arguments)])
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_everything_at_once(result, tmp_path):
    said = run(
        result, "--dicom", "--nifti", "--bids", "--suffix", "T2w", "--with", "samples", "--subject", "07"
    )
    out = tmp_path / "scan_unfold_export"
    for name in names(out):
        if name.startswith("bids/") and name.endswith(".nii.gz"):
            assert name.removeprefix("bids/") in said
    assert "mrunfold export" in said
    assert len([n for n in names(out) if n.startswith("dicom/")]) == 9  # 4 series of 2, and a map
    assert [n for n in names(out) if n.startswith("nifti/")] == [
        f"nifti/{stem}.{ending}" for stem in ("recon", "samples", "std") for ending in ("json", "nii.gz")
    ]
    stems = [f"sub-07_rec-unfold_desc-{d}_T2w" for d in ("recon", "sample01", "sample02", "std")]
    assert names(out / "bids" / "sub-07") == [
        f"anat/{stem}.{ending}" for stem in stems for ending in ("json", "nii.gz")
    ]
    assert "all 26 files" in run(out, "--check")


def test_nifti_volumes_and_sidecars(result, tmp_path):
    header = make_header((12, 9), 2)
    volumes = random_volumes(header)
    run(result, "--nifti", "--with", "samples", "--out", tmp_path / "out")
    samples = nibabel.load(tmp_path / "out" / "nifti" / "samples.nii.gz")
    stacked = np.stack([volumes["sample_01"], volumes["sample_02"]], axis=-1).transpose(1, 2, 0, 3)
    np.testing.assert_array_equal(samples.get_fdata(dtype=np.float32), stacked)
    assert samples.header.get_xyzt_units() == ("mm", "unknown")  # the fourth axis is no time
    recon = nibabel.load(tmp_path / "out" / "nifti" / "recon.nii.gz")
    np.testing.assert_array_equal(samples.affine, recon.affine)
    assert b"research, not for diagnosis" in bytes(recon.header["descrip"])
    sidecar = json.loads((tmp_path / "out" / "nifti" / "recon.json").read_text())
    assert (sidecar["RepetitionTime"], sidecar["EchoTime"]) == (3.0, 0.1015)  # seconds, as BIDS has it
    assert sidecar["mrunfold"]["weights_sha256"] == "cd" * 32
    assert sidecar["Geometry"] == "scanner"


def test_an_unknown_contrast_is_asked_for(result):
    assert "add --suffix" in refused(result, "--bids")
    assert "T2w" in refused(result, "--bids", "--suffix", "T2")
    assert "letters and digits" in refused(result, "--bids", "--suffix", "T2w", "--subject", "a_b")


def test_an_earlier_export_is_replaced_only_if_asked(result, tmp_path):
    out = tmp_path / "out"
    run(result, "--dicom", "--out", out)
    before = {n: (out / n).read_bytes() for n in names(out)}
    assert "--overwrite" in refused(result, "--nifti", "--out", out)
    assert {n: (out / n).read_bytes() for n in names(out)} == before
    run(result, "--nifti", "--out", out, "--overwrite")
    assert not (out / "dicom").exists()
    (out / "nifti" / "thesis.docx").write_text("mine")
    assert "not results" in refused(result, "--dicom", "--out", out, "--overwrite")
    assert "not results" in refused(result, "--dicom", "--out", result, "--overwrite")
    assert (result / "recon.h5").exists()


def test_nothing_is_left_of_an_export_that_fails(result, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrunfold.export.run.write_sums", full)
    before = names(tmp_path)
    assert "no space left" in refused(result, "--dicom", "--out", tmp_path / "out")
    assert names(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line(result, tmp_path):
    assert "nothing to write" in refused(result)
    assert "no such file" in refused(tmp_path / "missing", "--dicom")
    assert "HDF5" in refused(__file__, "--dicom")
    assert "KEYWORD=VALUE" in refused(result, "--dicom", "--set", "PatientName")
    assert "once" in refused(result, "--dicom", "--patient-id", "a", "--set", "PatientID=b")
    assert "--keep-samples" not in refused(result, "--dicom", "--with", "target")
    assert "SHA256SUMS" in refused(result, "--check")


def test_every_change_is_found(result, tmp_path):
    out = tmp_path / "out"
    run(result, "--dicom", "--nifti", "--out", out)
    count = check_sums(out)
    assert count == len(names(out)) - 1
    for name in names(out):
        kept = (out / name).read_bytes()
        for change in (
            kept[:-1],
            kept + b"\n",
            kept[: len(kept) // 2] + bytes([kept[len(kept) // 2] ^ 1]) + kept[len(kept) // 2 + 1 :],
        ):
            (out / name).write_bytes(change)
            with pytest.raises(InputError):
                check_sums(out)
        (out / name).unlink()
        with pytest.raises(InputError):
            check_sums(out)
        (out / name).write_bytes(kept)
    (out / "more.dcm").write_bytes(b"")
    with pytest.raises(InputError, match="not listed"):
        check_sums(out)
    (out / "more.dcm").unlink()
    assert check_sums(out) == count


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum (coreutils) on this machine")
def test_sha256sum_reads_the_list(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b c.txt").write_text("d")
    write_sums(tmp_path)
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "a" / "b c.txt").write_text("e")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_a_volume_written_before_is_told_apart(tmp_path):
    import h5py

    with h5py.File(tmp_path / "recon.h5", "w") as file:
        file["reconstruction"] = np.ones((1, 4, 4), np.float32)
    assert "reconstruct again" in refused(tmp_path / "recon.h5", "--dicom")
