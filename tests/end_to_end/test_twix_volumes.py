"""A 3-D Siemens file, written by twixtools, through the commands: info, recon with samples, batch."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from twixfiles import protocol, slab_readouts, write_twix
from typer.testing import CliRunner
from volumefiles import fft3c, letters, noisy

from mrunfold.cli import main
from mrunfold.io import open_scan

SIZE = (16, 24, 20)
MORE = f"sKSpace.lPartitions\t = \t{SIZE[2]}\n"


@pytest.fixture
def path(tmp_path):
    """Points in ky-kz with a full centre, 3 coils, readout oversampling, a noise scan in the file."""
    image = letters(SIZE) + 0.3
    wide = np.zeros((3, 2 * SIZE[0], *SIZE[1:]), np.complex64)
    wide[:, 8:24] = image * np.array([1, 0.7j, -0.5])[:, None, None, None]
    mask = np.random.default_rng(0).random(SIZE[1:]) < 0.6
    mask[6:18, 4:16] = True
    kspace = noisy(fft3c(wide), 0.02)
    draws = np.random.default_rng(1).standard_normal((2, 3, 400)) * 0.02 * np.sqrt(0.5)
    noise = [(draws[0] + 1j * draws[1], {"flags": ["NOISEADJSCAN"]})]
    texts = protocol(SIZE[0], SIZE[1], dimension=4, thickness=2.0 * SIZE[2], more=MORE)
    (tmp_path / "raw").mkdir()
    return write_twix(
        tmp_path / "raw" / "slab.dat", [(texts, noise + slab_readouts(kspace.conj(), mask=mask))]
    )


def said(*arguments: object) -> str:
    result = CliRunner().invoke(main.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_info(path):
    text = " ".join(said("info", path).split())
    assert "3-D, 32×24×20 (readout × phase × partition)" in text
    assert "16×24 pixels of 1×1 mm, 2 mm thick" in text


def test_recon_with_samples_and_batch(path, tmp_path):
    how = ["--samples", 2, "--steps", 2, "--no-cache", "--coils", "all", "--quiet"]
    said("recon", path, *how, "--seed", "name", "--out", tmp_path / "o")
    said("batch", tmp_path / "raw", *how, "--out", tmp_path / "b")
    with h5py.File(tmp_path / "o" / "recon.h5") as one, h5py.File(tmp_path / "b" / "slab.h5") as many:
        found = one["reconstruction"][()]
        np.testing.assert_array_equal(found, many["reconstruction"][()])
        assert one["std"].shape == (SIZE[2], *SIZE[:2])
        assert one["std"][()].max() > 0
    truth = np.moveaxis(letters(SIZE) + 0.3, -1, 0)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.9


def test_a_protocol_of_another_slab(tmp_path):
    kspace = noisy(fft3c(letters(SIZE))[None])
    texts = protocol(SIZE[0], SIZE[1], factor=1.0, dimension=4, more="sKSpace.lPartitions\t = \t7\n")
    with open_scan(write_twix(tmp_path / "a.dat", [(texts, slab_readouts(kspace.conj()))])) as scan:
        assert scan.header.grid.size == SIZE
        assert scan.header.images.slice_mm is None
        assert any("another matrix than the measured 16×24×20" in note for note in scan.header.notes)
