"""3-D scans, frames and partial Fourier of BART's files: the command, a batch and arrays agree, with samples.

Radial scans are in test_trajectories.py, Siemens' files in test_twix_commands.py and test_twix_volumes.py.
"""

from __future__ import annotations

import h5py
import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner
from volumefiles import bart as bart_of

import mrunfold
from mrunfold.cli import main
from mrunfold.io.cfl import read_cfl

DRAWN = {"samples": 2, "steps": 2}
HOW = [
    "--samples",
    2,
    "--steps",
    2,
    "--seed",
    "name",
    "--no-cache",
    "--check",
    0,
    "--coils",
    "all",
    "--quiet",
]


def bart(folder, *words):
    bart_of(folder, *map(str, words))


def volume(folder):
    """A 3-D scan with points of a Poisson-disc mask; image (readout, phase, partition)."""
    bart(folder, "phantom", "-3", "-x", 20, "-k", "-s", 3, "full")
    bart(folder, "poisson", "-Y", 20, "-Z", 20, "-y", 1.3, "-z", 1.3, "-C", 10, "mask")
    bart(folder, "noise", "-s", 1, "-n", 1, "full", "noisy")
    bart(folder, "fmac", "noisy", "mask", "raw/scan")
    kspace = read_cfl(folder / "raw" / "scan.cfl")
    return np.moveaxis(kspace, 3, 0), {"volume": True}, lambda found: np.moveaxis(found, 0, -1)


def frames(folder):
    """Two echoes of a 2-D scan in dimension 5."""
    bart(folder, "phantom", "-x", 32, "-k", "-s", 3, "one")
    bart(folder, "scale", 0.5, "one", "two")
    bart(folder, "join", 5, "one", "two", "both")
    bart(folder, "noise", "-s", 1, "-n", 1, "both", "raw/scan")
    kspace = read_cfl(folder / "raw" / "scan.cfl")[:, :, 0, :, 0, :]  # (readout, phase, coil, echo)
    return kspace.transpose(3, 2, 0, 1)[:, None], {}, lambda found: found.reshape(2, 1, 32, 32)


def frames_of_volume(folder):
    """Two echoes of a 3-D scan."""
    bart(folder, "phantom", "-3", "-x", 16, "-k", "-s", 3, "one")
    bart(folder, "scale", 0.5, "one", "two")
    bart(folder, "join", 5, "one", "two", "both")
    bart(folder, "noise", "-s", 1, "-n", 1, "both", "raw/scan")
    kspace = read_cfl(folder / "raw" / "scan.cfl")[:, :, :, :, 0, :]
    return (
        kspace.transpose(4, 3, 0, 1, 2),
        {"volume": True},
        lambda found: np.moveaxis(found.reshape(2, 16, 16, 16), 1, -1),
    )


def partial_fourier(folder):
    """Five eighths of the lines."""
    bart(folder, "phantom", "-x", 32, "-k", "-s", 3, "one")
    bart(folder, "extract", 1, 12, 32, "one", "part")
    bart(folder, "noise", "-s", 1, "-n", 1, "part", "noisy")
    bart(folder, "flip", 2, "noisy", "back")
    bart(folder, "resize", 1, 32, "back", "longer")
    bart(folder, "flip", 2, "longer", "raw/scan")
    kspace = read_cfl(folder / "raw" / "scan.cfl")[:, :, 0]
    return np.moveaxis(kspace, -1, 0), {}, lambda found: found[0]


def run(*words):
    result = CliRunner().invoke(main.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


@pytest.mark.slow  # a minute: pytest -m slow tests/end_to_end/test_beyond_the_slice.py
@pytest.mark.parametrize("kind", [volume, frames, frames_of_volume, partial_fourier])
def test_command_batch_and_arrays_agree(kind, tmp_path):
    (tmp_path / "raw").mkdir()
    kspace, given, in_axes = kind(tmp_path)
    run("recon", tmp_path / "raw" / "scan.cfl", *HOW, "--out", tmp_path / "o", "--save", "complex")
    run("batch", tmp_path / "raw" / "scan.cfl", *HOW, "--out", tmp_path / "b")
    with h5py.File(tmp_path / "o" / "recon.h5") as one, h5py.File(tmp_path / "b" / "scan.h5") as many:
        np.testing.assert_array_equal(one["reconstruction"][()], many["reconstruction"][()])
        image, std = one["image"][()], one["std"][()]
    assert std.max() > 0
    found = mrunfold.recon(kspace, coils="all", progress=False, **given, **DRAWN)
    height = np.abs(image).max()
    assert found.image.shape == in_axes(image).shape
    assert found.samples.shape == (2, *found.image.shape)
    np.testing.assert_allclose(in_axes(image), found.image, atol=2e-2 * height)
    nifti = nibabel.load(tmp_path / "o" / "recon.nii.gz")
    assert nifti.shape[3:] == ((2,) if kind in (frames, frames_of_volume) else ())
