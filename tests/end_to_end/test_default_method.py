"""What `recon` does when no method is named: the shipped network, on input as it comes."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.networks.weights import DEFAULT_WEIGHTS, FOLDER, weights_digest


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRUNFOLD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def recon(path: Path, out: Path, *arguments: str):
    result = CliRunner().invoke(main.app, ["recon", str(path), "--out", str(out), *arguments])
    assert result.exit_code == 0, result.output
    with h5py.File(out / "recon.h5") as file:
        volumes = {name: file[name][()] for name in file}
    return json.loads((out / "record.json").read_text()), volumes


def test_the_sample_gets_the_learned_result(tmp_path):
    path = tmp_path / "sample.h5"
    assert CliRunner().invoke(main.app, ["sample", str(path)]).exit_code == 0
    masked = ["--mask", "poisson", "--accel", "8", "--target", "combined", "--slices", "0"]
    record, _ = recon(path, tmp_path / "ours", *masked)
    plain, _ = recon(path, tmp_path / "zf", *masked, "--method", "zero_filled")
    method = record["slices"][0]["method"]
    assert record["settings"]["method"] == "unfold"
    assert method["weights_sha256"] == weights_digest(FOLDER / f"{DEFAULT_WEIGHTS}.safetensors")
    assert record["metrics"]["psnr"] > plain["metrics"]["psnr"] + 8


def test_real_lines_are_better_than_l1_wavelet(tmp_path, shared_data):
    path = shared_data / "kspace" / "brain_8ch_full.cfl"
    masked = ["--mask", "random", "--accel", "4"]
    record, _ = recon(path, tmp_path / "ours", *masked)
    classical, _ = recon(path, tmp_path / "l1", *masked, "--method", "l1_wavelet", "--param", "lamda=0.01")
    assert record["metrics"]["psnr"] > classical["metrics"]["psnr"] + 1


def test_samples_join_the_outputs(tmp_path):
    path = write_fastmri(tmp_path / "f.h5", coil_kspace(letter_f((48, 40))[None], coils=4, noise=1e-2))
    masked = ["--mask", "random", "--accel", "3", "--calibration", "10"]
    _, volumes = recon_with_samples(path, tmp_path / "a", *masked)
    _, again = recon_with_samples(path, tmp_path / "b", *masked)
    low, high = volumes["quantile_05"], volumes["quantile_95"]
    assert (low <= high).all()
    assert (low < high).any()
    assert volumes["std"].shape == volumes["reconstruction"].shape
    for name, volume in volumes.items():
        np.testing.assert_array_equal(volume, again[name])


def recon_with_samples(path, out, *arguments):
    return recon(path, out, *arguments, "--samples", "4", "--steps", "3")


@pytest.mark.parametrize(
    ("shape", "coils", "noise", "accel"),
    [
        ((128, 128), 8, 1e-2, "30"),  # far beyond the accelerations of training
        ((64, 64), 4, 0.3, "4"),  # so is this noise
        ((64, 64), 1, 1e-2, "4"),
        ((33, 47), 4, 1e-2, "3"),
        ((16, 16), 2, 1e-2, "2"),
    ],
)
def test_input_far_from_training_stays_finite(tmp_path, shape, coils, noise, accel):
    path = write_fastmri(
        tmp_path / "scan.h5", coil_kspace(letter_f(shape)[None], coils=coils, noise=noise), rss=False
    )
    side = str(min(12, shape[0] // 4))
    _, volumes = recon(path, tmp_path / "out", "--mask", "poisson", "--accel", accel, "--calibration", side)
    volume = volumes["reconstruction"]
    assert volume.shape == (1, *shape)
    assert np.isfinite(volume).all()
    assert 0.2 < volume.max() / np.abs(volumes["target"]).max() < 3


def test_an_empty_slice_stays_empty(tmp_path):
    kspace = coil_kspace(np.stack([letter_f((48, 40))] * 2), coils=4, noise=1e-2)
    kspace[0] = 0
    path = write_fastmri(tmp_path / "hole.h5", kspace, rss=False)
    _, volumes = recon(path, tmp_path / "out", "--samples", "2", "--steps", "2")
    assert not volumes["reconstruction"][0].any()
    assert not volumes["std"][0].any()
    assert volumes["reconstruction"][1].any()
