"""Generated folders: fastMRI's layout with its oddities, the same again from the same seed."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import ifft2c
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io import crop_image, open_scan, sha256_of
from mrunfold.phantoms.folder import generate_folder

SMALL = {"volumes": 8, "size": 48, "slices": 2, "max_coils": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "scans"
    generate_folder(path, seed=3, **SMALL)
    return path


def test_what_is_in_it(folder):
    names = sorted(p.name for p in folder.iterdir())
    assert [n.split("_")[0] for n in names].count("knee") == 4
    assert [n for n in names if n.count("_") == 2] == [
        "brain_0006_nopadding.h5", "brain_0008_test.h5", "knee_0007_narrow.h5"
    ]  # fmt: skip
    coils, widths = set(), set()
    for path in folder.iterdir():
        with open_scan(path) as scan:
            header = scan.header
            assert header.simulated
            assert header.slices == 2
            assert header.matrix[0] == 96
            assert header.unoversampled == 48
            coils.add(header.coils)
            widths.add(header.matrix[1])
            assert (header.padding is None) == ("nopadding" in path.name)
            assert header.crop == ((30, 30) if "narrow" in path.name else (48, 48))
            assert (scan.reference(0) is None) == ("test" in path.name)
    assert len(widths) >= 4
    assert max(coils) == 6


def test_images_are_those_of_kspace(folder):
    for path in folder.glob("*_000[1-7]*"):
        with h5py.File(path) as file, open_scan(path) as scan:
            rss = np.linalg.norm(ifft2c(file["kspace"][0]), axis=0)
            crop = scan.header.crop
            error = crop_image(rss, crop) - crop_image(file["reconstruction_rss"][0], crop)
            assert np.abs(error).max() < 1e-5 * rss.max()
            assert scan.header.padding is None or not file["kspace"][..., : scan.header.padding[0]].any()


def test_the_test_file_is_undersampled(folder):
    with h5py.File(folder / "brain_0008_test.h5") as file:
        mask, kspace = file["mask"][()], file["kspace"][()]
        assert file.attrs["acceleration"] == 4
        centre = int(file.attrs["num_low_frequency"])
    assert not kspace[..., ~mask].any()
    assert 2.5 < mask.size / mask.sum() < 6
    start = mask.size // 2 - centre // 2
    assert mask[start : start + centre].all()


def test_the_same_again(tmp_path, folder):
    again = generate_folder(tmp_path / "again", seed=3, **SMALL)
    assert all(sha256_of(p) == sha256_of(folder / p.name) for p in again)
    other = generate_folder(tmp_path / "other", seed=4, **SMALL)
    assert all(sha256_of(p) != sha256_of(folder / p.name) for p in other if (folder / p.name).exists())


def test_refused(tmp_path, folder):
    with pytest.raises(InputError, match="not an empty folder"):
        generate_folder(folder, **SMALL)
    for wrong in ({"kind": "heart"}, {"volumes": 0}, {"size": 8}, {"noise": -1}):
        with pytest.raises(InputError):
            generate_folder(tmp_path / "x", **(SMALL | wrong))
    assert not (tmp_path / "x").exists()


def test_reconstructed_and_evaluated(tmp_path, folder):
    """From raw folder to scores: the zero-filled full data are the targets, the narrow file is noted."""
    (tmp_path / "recons").mkdir()
    for path in sorted(folder.iterdir()):
        out = tmp_path / "runs" / path.stem
        made = CliRunner().invoke(
            main.app,
            ["recon", str(path), "--out", str(out), "--method", "zero_filled", "--target", "rss",
             "--no-cache", "-q"],
        )  # fmt: skip
        if made.exit_code == 0:
            (out / "recon.h5").rename(tmp_path / "recons" / path.name)
        else:
            assert made.exit_code == 2, made.output
    result = CliRunner().invoke(
        main.app, ["evaluate", str(tmp_path / "recons"), str(folder), "--out", str(tmp_path / "scores")]
    )
    assert result.exit_code == 3, result.output  # the test-set file has no target
    assert "brain_0008_test.h5: no target image" in result.stderr
    assert "7 of 8 volumes scored" in result.stdout
    assert "simulated data" in result.stdout
