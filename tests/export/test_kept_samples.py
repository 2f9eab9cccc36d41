"""`recon --samples --keep-samples --dicom`: the samples are written, and the maps are theirs."""

from __future__ import annotations

import h5py
import nibabel
import numpy as np
import pytest
import torch
from exported import FRAMES
from rawfiles import coil_kspace, letter_f, write_mrd
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import save_weights, weights_digest
from mrunfold.protocols import NetworkSpec, PriorSpec

SPEC = NetworkSpec(blocks=1, shared=True, cg_iterations=3, prior=PriorSpec(widths=(4, 4), blocks=1))


@pytest.fixture
def scan(tmp_path):
    positions = np.array([[0.0, 0, 0], [0, 0, -6]])
    kspace = coil_kspace(np.stack([letter_f((48, 48))] * 2))
    return write_mrd(tmp_path / "raw.h5", kspace, None, (2.0, 3.0), FRAMES["axial"], positions)


@pytest.fixture
def weights(tmp_path):
    network = PosteriorDenoiser.from_spec(SPEC)
    torch.nn.init.normal_(network.prior(0).tail.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "tiny.safetensors"
    save_weights(path, network, SPEC)
    return path


def run(*arguments) -> str:
    done = CliRunner().invoke(main.app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_samples_go_all_the_way(tmp_path, scan, weights):
    out = tmp_path / "result"
    options = [
        "--mask",
        "random",
        "--accel",
        2,
        "--calibration",
        12,
        "--samples",
        3,
        "--steps",
        2,
        "--weights",
        weights,
        "--no-cache",
    ]
    run("recon", scan, *options, "--keep-samples", "--dicom", "--out", out)
    with h5py.File(out / "recon.h5") as file:
        samples = np.stack([file[f"sample_0{n}"][()] for n in (1, 2, 3)])
        np.testing.assert_allclose(file["std"][()], samples.std(axis=0, ddof=1), rtol=1e-3, atol=1e-6)
        assert file["std"][()].max() > 0
        assert file.attrs["weights_sha256"] == weights_digest(weights)
    folders = sorted(p.name for p in (out / "dicom").iterdir())
    assert folders == ["001_reconstruction", "002_std", "006_std_map"]
    assert "files are as they were written" in run("export", out, "--check")
    # A result with DICOM in it is a result still, and may be replaced.
    run("recon", scan, *options, "--out", out, "--overwrite")
    with h5py.File(out / "recon.h5") as file:
        assert "sample_01" not in file
    run("recon", scan, *options, "--keep-samples", "--out", out, "--overwrite")
    run("export", out, "--dicom", "--nifti", "--with", "samples", "--with", "quantiles", "--with", "target",
        "--out", tmp_path / "more")  # fmt: skip
    found = nibabel.load(tmp_path / "more" / "nifti" / "samples.nii.gz").get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(found, samples.transpose(2, 3, 1, 0))
    assert len(list((tmp_path / "more" / "dicom").iterdir())) == 9
