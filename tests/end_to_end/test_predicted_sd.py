"""The map of standard deviations that is predicted with the mean: written, shown, exported, left out."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from rawfiles import coil_kspace, write_fastmri
from typer.testing import CliRunner

import mrunfold
from mrunfold.cli import main
from mrunfold.export import open_reconstruction
from mrunfold.networks.weights import load_sd_head
from mrunfold.phantoms.bodies import body

MASKED = ["--mask", "poisson", "--accel", "4", "--calibration", "12"]
PREDICTED = "predicted in one evaluation"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRUNFOLD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    images = 1e-4 * np.abs(np.stack([body("knee", (64, 48)), body("shoulder", (64, 48))]))
    kspace = coil_kspace(images.astype(np.float32), coils=4, noise=1e-6)
    return write_fastmri(tmp_path_factory.mktemp("raw") / "two.h5", kspace)


def run(path: Path, out: Path, *arguments: str):
    result = CliRunner().invoke(main.app, ["recon", str(path), "--out", str(out), *MASKED, *arguments])
    assert result.exit_code == 0, result.output
    with h5py.File(out / "recon.h5") as file:
        volumes = {name: file[name][()] for name in file}
    return result.output, json.loads((out / "record.json").read_text()), volumes


@pytest.fixture(scope="module")
def done(tmp_path_factory, scan):
    out = tmp_path_factory.mktemp("done") / "o"
    return out, *run(scan, out)


def test_it_is_written_and_said(done):
    out, said, record, volumes = done
    std, recon, target = (volumes[name] for name in ("std", "reconstruction", "target"))
    assert std.shape == recon.shape
    assert std.dtype == np.float32
    inside = target > 0.2 * target.max()
    assert 0.2 < float(np.sqrt(np.mean((recon - target)[inside] ** 2) / np.mean(std[inside] ** 2))) < 3
    assert record["uncertainty"] == PREDICTED
    assert f"standard deviation, {PREDICTED}" in said
    digest = load_sd_head()[1]["sha256"]
    for one in record["slices"]:
        assert one["uncertainty"] == PREDICTED
        assert one["method"]["sd"] == {"predicted": "in one evaluation", "weights_sha256": digest}
    nifti = nibabel.load(out / "std.nii.gz")
    np.testing.assert_array_equal(nifti.get_fdata(dtype=np.float32), std.transpose(1, 2, 0))
    assert "quantile_05" not in volumes


def test_a_slice_has_the_same_map_alone(done, scan, tmp_path):
    _, _, _, volumes = done
    _, _, alone = run(scan, tmp_path / "o", "--slices", "1", "--check", "0")
    np.testing.assert_array_equal(alone["std"][0], volumes["std"][1])
    np.testing.assert_array_equal(alone["reconstruction"][0], volumes["reconstruction"][1])


def test_it_is_left_out_where_that_is_asked(done, scan, tmp_path):
    _, _, _, volumes = done
    said, record, without = run(scan, tmp_path / "o", "--no-sd")
    assert "std" not in without
    assert not (tmp_path / "o" / "std.nii.gz").exists()
    assert record["uncertainty"] is None
    assert "no map" in said
    np.testing.assert_array_equal(without["reconstruction"], volumes["reconstruction"])


def test_draws_take_its_place(scan, tmp_path):
    _, record, volumes = run(scan, tmp_path / "o", "--samples", "2", "--slices", "0")
    assert record["uncertainty"] == "from 2 draws"
    assert "sd" not in record["slices"][0]["method"]
    assert "quantile_95" in volumes


def test_weights_without_a_head_have_no_map_and_say_why(scan, tmp_path):
    said, record, volumes = run(scan, tmp_path / "o", "--weights", "mri-compact", "--slices", "0")
    assert "std" not in volumes
    assert record["uncertainty"] is None
    line = next(line for line in said.splitlines() if line.strip().startswith("uncertainty"))
    assert "mri-compact.safetensors has no head of its own" in line
    assert "--stage sd" in line


def test_other_methods_stay_as_they_are(scan, tmp_path):
    _, record, volumes = run(scan, tmp_path / "o", "--method", "sense", "--slices", "0")
    assert "std" not in volumes
    assert record["uncertainty"] is None
    result = CliRunner().invoke(main.app, ["recon", str(scan), "--method", "sense", "--no-sd"])
    assert result.exit_code == 2
    assert "has no parameter 'sd'" in result.output


def test_exports_name_where_it_comes_from(done, tmp_path):
    out, _, _, volumes = done
    words = ["export", str(out), "--dicom", "--nifti", "--out", str(tmp_path / "e")]
    result = CliRunner().invoke(main.app, words)
    assert result.exit_code == 0, result.output
    sidecar = json.loads((tmp_path / "e" / "nifti" / "std.json").read_text())
    assert sidecar["Description"].startswith(f"Standard deviation of the magnitude, {PREDICTED}")
    written = nibabel.load(tmp_path / "e" / "nifti" / "std.nii.gz").get_fdata(dtype=np.float32)
    np.testing.assert_allclose(np.sort(written, axis=None), np.sort(volumes["std"], axis=None))
    files = [pydicom.dcmread(file) for file in sorted((tmp_path / "e").rglob("*.dcm"))]
    of_std = [file for file in files if "STD_DEVIATION" in file.ImageType]
    assert of_std
    assert all(f"Standard deviation, {PREDICTED}" in file.DerivationDescription for file in of_std)
    others = [file for file in files if "STD_DEVIATION" not in file.ImageType]
    assert not any(PREDICTED in file.DerivationDescription for file in others)


def test_the_review_page_shows_it_with_its_origin(done, tmp_path):
    out, _, _, _ = done
    page = tmp_path / "page.html"
    result = CliRunner().invoke(main.app, ["view", str(out), "--out", str(page)])
    assert result.exit_code == 0, result.output
    assert f"Uncertainty: Standard deviation, {PREDICTED}" in page.read_text(encoding="utf-8")


def test_a_result_of_before_does_not_name_an_origin(done, tmp_path):
    out, _, _, _ = done
    old = tmp_path / "recon.h5"
    with h5py.File(out / "recon.h5") as source, h5py.File(old, "w") as file:
        for name in source:
            if name != "provenance":
                file[name] = source[name][()]
        said = json.loads(source["provenance"][()].tobytes())
        del said["uncertainty"]
        file["provenance"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    with open_reconstruction(old) as result:
        assert result.uncertainty is None
        assert result.titled("Standard deviation") == "Standard deviation"


def test_arrays_have_it_too(scan):
    with h5py.File(scan) as file:
        kspace = file["kspace"][0]
    found = mrunfold.recon(kspace, progress=False)
    assert found.std.shape == found.image.shape
    assert found.samples is None
    assert found.record["slices"][0]["uncertainty"] == PREDICTED
    assert mrunfold.recon(kspace, progress=False, sd=False).std is None
    louder = mrunfold.recon(8 * kspace, progress=False)
    np.testing.assert_allclose(louder.std, 8 * found.std, rtol=1e-3, atol=1e-3 * float(8 * found.std.max()))


def test_batch_writes_it(scan, tmp_path):
    words = ["batch", str(scan), "--out", str(tmp_path / "b"), *MASKED, "--slices", "0"]
    assert CliRunner().invoke(main.app, words).exit_code == 0
    with h5py.File(tmp_path / "b" / "two.h5") as file:
        assert "std" in file
        assert file.attrs["uncertainty"] == PREDICTED
    words[3] = str(tmp_path / "c")
    assert CliRunner().invoke(main.app, [*words, "--no-sd"]).exit_code == 0
    with h5py.File(tmp_path / "c" / "two.h5") as file:
        assert "std" not in file
