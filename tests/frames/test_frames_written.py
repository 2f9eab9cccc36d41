"""Frames in what is written: 4-D NIfTI, BIDS, DICOM; from the command line, in a batch, with samples."""

from __future__ import annotations

import json

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from framefiles import AXIAL, CORONAL, SAGITTAL, kspace_of, write_frames
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.export.run import ExportRequest, export_result
from mrunfold.pipeline import ReconSettings, reconstruct

TIMES = "<TR>900</TR><TE>5</TE><TE>15</TE><TE>25</TE>"
DECAY = (1.0, 0.7j, -0.5)  # of each echo: another contrast, and another phase


@pytest.fixture(scope="module")
def echoes(tmp_path_factory):
    path = tmp_path_factory.mktemp("echoes") / "echoes.h5"
    return write_frames(path, [(kspace_of(DECAY[e], seed=e), {"contrast": e}) for e in range(3)], TIMES)


def run(*arguments):
    result = CliRunner().invoke(main.app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def written(echoes, tmp_path_factory):
    """The folder of a `recon` of the echoes with DICOM."""
    out = tmp_path_factory.mktemp("out") / "out"
    run("recon", echoes, "--method", "sense", "--out", out, "--dicom", "-q", "--no-cache")
    return out


def test_frames_are_the_fourth_axis_and_no_slices(written):
    image = nibabel.load(written / "recon.nii.gz")
    assert image.shape == (32, 28, 2, 3)
    assert image.header.get_xyzt_units() == ("mm", "unknown")  # echoes are no time
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    # Pixel (16, 14) of the slices lies at their positions: LPS (0, 0, 0) and (0, 0, −6).
    np.testing.assert_allclose(image.affine @ [16, 14, 0, 1], [0, 0, 0, 1], atol=1e-4)
    np.testing.assert_allclose(image.affine @ [16, 14, 1, 1], [0, 0, -6, 1], atol=1e-4)
    data = image.get_fdata()
    bright = data[..., 0] > 0.6 * data[..., 0].max()
    ratios = [data[..., e][bright].mean() / data[..., 0][bright].mean() for e in range(3)]
    np.testing.assert_allclose(ratios, np.abs(DECAY), atol=0.05)
    assert data[:, :, 0].max() > 1.5 * data[:, :, 1].max()  # half the signal, and below


def test_each_dicom_image_says_its_echo_and_its_place(written):
    files = sorted((written / "dicom").rglob("*.dcm"))
    found = [pydicom.dcmread(f) for f in files]
    assert len({one.SeriesInstanceUID for one in found}) == 1
    assert [int(one.InstanceNumber) for one in found] == [1, 2, 3, 4, 5, 6]
    assert [(int(one.EchoNumbers), float(one.EchoTime)) for one in found] == [
        (1, 5), (1, 5), (2, 15), (2, 15), (3, 25), (3, 25),
    ]  # fmt: skip
    heights = [float(one.ImagePositionPatient[2]) for one in found]
    assert heights == [-6, 0] * 3 or heights == [0, -6] * 3
    assert all("TemporalPositionIdentifier" not in one for one in found)
    assert len({one.SOPInstanceUID for one in found}) == 6


def test_bids_has_one_file_and_one_echo_time_an_echo(written, tmp_path):
    export_result(written, tmp_path, ExportRequest(bids=True, nifti=True, suffix="T2starw"))
    sidecars = sorted((tmp_path / "bids" / "sub-01" / "anat").glob("*.json"))
    assert [p.name.split("_")[2] for p in sidecars] == ["echo-1", "echo-2", "echo-3"]
    for number, path in enumerate(sidecars):
        said = json.loads(path.read_text(encoding="utf-8"))
        assert said["EchoTime"] == pytest.approx((5 + 10 * number) / 1000)
        assert said["RepetitionTime"] == pytest.approx(0.9)
        assert nibabel.load(path.with_suffix(".nii.gz")).shape == (32, 28, 2)
    whole = json.loads((tmp_path / "nifti" / "recon.json").read_text(encoding="utf-8"))
    assert whole["EchoTime"] == pytest.approx([0.005, 0.015, 0.025])
    assert nibabel.load(tmp_path / "nifti" / "recon.nii.gz").shape == (32, 28, 2, 3)


def test_repetitions_are_time(tmp_path):
    frames = []
    for n in range(3):  # TR 100 ms, one line after another, so that the unit of time stamps is 2.5 ms
        one = kspace_of(seed=n)
        frames.append((one, {"repetition": n}))
    path = write_frames(tmp_path / "a.h5", frames, "<TR>100</TR>")
    _stamp(path, lambda line, repetition: 40 * line + 4000 * repetition)
    summary = reconstruct(path, tmp_path / "out", ReconSettings(method="zero_filled", check=0))
    image = nibabel.load(summary.folder / "recon.nii.gz")
    assert image.shape == (32, 28, 2, 3)
    assert image.header.get_zooms()[3] == pytest.approx(10.0)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    export_result(summary.folder, _made(tmp_path / "e"), ExportRequest(dicom=True, bids=True, suffix="T1w"))
    found = [pydicom.dcmread(f) for f in sorted((tmp_path / "e" / "dicom").rglob("*.dcm"))]
    assert [int(one.TemporalPositionIdentifier) for one in found] == [1, 1, 2, 2, 3, 3]
    assert {int(one.NumberOfTemporalPositions) for one in found} == {3}
    names = sorted(p.name for p in (tmp_path / "e" / "bids").rglob("*.nii.gz"))
    assert [name.split("_")[2] for name in names] == ["run-1", "run-2", "run-3"]


def _made(folder):
    folder.mkdir()
    return folder


def _stamp(path, of):
    """Set acquisition_time_stamp in place."""
    with h5py.File(path, "r+") as file:
        data = file["dataset"]["data"]
        for number in range(len(data)):
            row = data[number]
            index = row["head"]["idx"]
            row["head"]["acquisition_time_stamp"] = of(
                int(index["kspace_encode_step_1"]), int(index["repetition"])
            )
            data[number] = row


def test_a_localizer_is_three_placed_series(tmp_path):
    path = write_frames(tmp_path / "a.h5", [(kspace_of(slices=3), {})], axes=(AXIAL, SAGITTAL, CORONAL))
    run("recon", path, "--method", "zero_filled", "--check", 0, "--out", tmp_path / "out", "--dicom", "-q")
    names = sorted(p.name for p in (tmp_path / "out").glob("recon*.nii.gz"))
    assert names == ["recon_1.nii.gz", "recon_2.nii.gz", "recon_3.nii.gz"]
    for name, axes in zip(names, (AXIAL, SAGITTAL, CORONAL), strict=True):
        affine = nibabel.load(tmp_path / "out" / name).affine
        lps = np.diag([-1, -1, 1]) @ affine[:3, :2]
        np.testing.assert_allclose(lps.T, [axes["read_dir"], axes["phase_dir"]], atol=1e-6)
    series = [
        [pydicom.dcmread(f) for f in sorted(folder.iterdir())]
        for folder in sorted((tmp_path / "out" / "dicom").iterdir())
    ]
    assert [len(one) for one in series] == [1, 1, 1]
    normals = []
    for (one,) in series:
        along, down = np.split(np.array(one.ImageOrientationPatient, float), 2)
        normals.append(np.abs(np.cross(along, down)).round(6).tolist())
    assert normals == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_samples_of_frames_are_a_fifth_axis(echoes, tmp_path):
    settings = ReconSettings(
        parameters={"samples": 2, "steps": 2}, keep_samples=True, check=0, frames="0,2", slices="0"
    )
    summary = reconstruct(echoes, tmp_path / "out", settings)
    assert nibabel.load(summary.folder / "std.nii.gz").shape == (32, 28, 1, 2)
    export_result(summary.folder, _made(tmp_path / "e"), ExportRequest(nifti=True, extras=("samples",)))
    samples = nibabel.load(tmp_path / "e" / "nifti" / "samples.nii.gz").get_fdata()
    assert samples.shape == (32, 28, 1, 2, 2)
    with h5py.File(summary.folder / "recon.h5") as file:
        np.testing.assert_array_equal(samples[:, :, 0, 1, 0], file["sample_01"][1])
        np.testing.assert_array_equal(samples[:, :, 0, 0, 1], file["sample_02"][0])
    assert [one["frame"]["TE_ms"] for one in summary.record["slices"]] == [5, 25]


def test_a_batch_gives_the_same_images(echoes, written, tmp_path):
    run("batch", echoes.parent, "--out", tmp_path / "b", "--method", "sense", "-q", "--no-cache")
    with h5py.File(tmp_path / "b" / "echoes.h5") as one, h5py.File(written / "recon.h5") as other:
        np.testing.assert_array_equal(one["reconstruction"][()], other["reconstruction"][()])
    export_result(tmp_path / "b" / "echoes.h5", _made(tmp_path / "e"), ExportRequest(nifti=True))
    assert nibabel.load(tmp_path / "e" / "nifti" / "recon.nii.gz").shape == (32, 28, 2, 3)


def test_info_says_frames(echoes):
    out = run("info", echoes).output
    assert "3: 3 contrasts; TE 5, 15, 25 ms" in " ".join(out.split())
