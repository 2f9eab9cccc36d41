"""`mrunfold.recon` on a 3-D array gives what the command gives on BART's file of it, in the array's axes."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from volumefiles import SIGMA, SIZE, coils3d, fft3c, letters, noisy, write_bart

import mrunfold
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io.cfl import write_cfl
from mrunfold.masks import poisson


@pytest.fixture(scope="module")
def scan():
    """An image (readout, phase, partition), maps of 4 coils, k-space and a mask of points in ky-kz."""
    image = letters(SIZE) + 0.5
    image[:3] = image[-3:] = image[:, :3] = image[:, -3:] = image[:, :, :3] = image[:, :, -3:] = 0
    maps = coils3d(4)
    return image, maps, noisy(fft3c(maps * image), SIGMA), poisson(SIZE[1:], 2, seed=0, calibration=12).array


def quick(kspace, *given, **named):
    return mrunfold.recon(
        kspace, *given, volume=True, progress=False, **({"method": "sense", "map_sets": 1} | named)
    )


def command(path, out, *words) -> dict[str, np.ndarray]:
    words = [
        "recon",
        path,
        "--out",
        out,
        "--method",
        "sense",
        "--map-sets",
        1,
        "--no-cache",
        "--quiet",
        *words,
    ]
    result = CliRunner().invoke(main.app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    with h5py.File(out / "recon.h5") as file:
        return {name: file[name][()] for name in file}


def error(found, truth) -> float:
    return float(np.linalg.norm(np.abs(found) - truth) / np.linalg.norm(truth))


def test_points_give_what_the_file_gives(scan, tmp_path):
    image, _, full, mask = scan
    found = quick(full, mask)
    assert found.image.shape == SIZE
    assert found.maps.shape == (4, *SIZE)
    assert isinstance(found.sigma, float)
    assert found.record["split"] == "readout"
    written = command(write_bart(tmp_path / "a.cfl", full * mask), tmp_path / "o")
    height = np.abs(found.image).max()
    np.testing.assert_allclose(np.moveaxis(written["image"], 0, -1), found.image, atol=1e-5 * height)
    assert error(found.image, image) < 0.12


def test_a_complete_scan_is_split_along_its_partitions(scan):
    image, _, full, _ = scan
    found = quick(full)
    assert (found.record["split"], found.image.shape, found.maps.shape) == ("partition", SIZE, (4, *SIZE))
    assert error(found.image, image) < 0.12


def test_frames_torch_and_samples(scan):
    _, _, full, mask = scan
    two = torch.from_numpy(np.stack([full, 2j * full])[:, :, 8:16])
    found = quick(two, torch.tensor(mask), method="unfold", samples=2, steps=2)
    assert isinstance(found.image, torch.Tensor)
    assert found.image.shape == (2, 8, *SIZE[1:])
    assert found.samples.shape == (2, 2, 8, *SIZE[1:])
    assert found.std.shape == found.image.shape
    assert found.maps.shape == (2, 4, 8, *SIZE[1:])
    assert len(found.sigma) == len(found.scale) == 2
    spread = found.samples.abs().numpy().std(axis=0, ddof=1)
    np.testing.assert_allclose(spread, found.std.numpy(), rtol=1e-3, atol=1e-6)
    bright = found.image[0].abs() > 0.5
    ratio = (found.image[1][bright] / found.image[0][bright]).numpy()
    assert np.abs(np.median(ratio) - 2j) < 0.05


@pytest.mark.parametrize("given", ["whole", "sets", "bart"])
@pytest.mark.parametrize("split", ["readout", "partition"])
def test_own_maps_in_every_layout(scan, given, split):
    image, maps, full, mask = scan
    layout = {"whole": maps, "sets": maps[None], "bart": np.moveaxis(maps, 0, -1)[..., None]}[given]
    found = quick(full, mask if split == "readout" else None, maps=layout)
    assert found.record["split"] == split
    assert error(found.image, image) < 0.1
    assert found.record["slices"][0]["problem"]["maps"] == "given"


def test_maps_of_a_file_are_barts_and_go_round(scan, tmp_path):
    image, maps, full, mask = scan
    path = write_bart(tmp_path / "a.cfl", full * mask)
    theirs = write_bart(tmp_path / "maps.cfl", maps.astype(np.complex64))
    by_file = command(path, tmp_path / "o", "--maps", theirs, "--save", "maps,complex")
    assert error(np.moveaxis(by_file["reconstruction"], 0, -1), image) < 0.1
    estimated = command(path, tmp_path / "p", "--save", "maps")
    again = command(path, tmp_path / "q", "--maps", tmp_path / "p" / "recon.h5")
    height = estimated["image"].max()
    np.testing.assert_allclose(again["image"], estimated["image"], atol=2e-3 * np.abs(height))


def test_masks_of_files_are_points_of_both_phase_encodings(scan, tmp_path):
    _, _, full, mask = scan
    path = write_bart(tmp_path / "a.cfl", full[:, 8:16])
    np.save(tmp_path / "mask.npy", mask)
    write_cfl(tmp_path / "barts", mask[None].astype(np.complex64))  # (1, phase, partition), as `bart poisson`
    by_array = quick(full[:, 8:16], mask, method="zero_filled")
    for name in ("mask.npy", "barts.cfl"):
        how = ["--method", "zero_filled", "--mask", tmp_path / name]
        written = command(path, tmp_path / name.split(".")[1], *how)
        height = np.abs(by_array.image).max()
        np.testing.assert_allclose(np.moveaxis(written["image"], 0, -1), by_array.image, atol=1e-5 * height)
        np.testing.assert_array_equal(written["mask"][0], mask)


@pytest.mark.parametrize(
    ("array", "named", "words"),
    [
        (np.ones((2, 8, 8), complex), {}, "partition"),
        (np.ones((2, 8, 9, 10)), {}, "complex k-space"),
        (np.ones((2, 8, 9, 10), complex), {"mask": np.ones((8, 9))}, "phase × partition"),
        (np.ones((2, 8, 9, 10), complex), {"maps": np.ones((2, 8, 10, 9), complex)}, "8×9×10"),
        (np.ones((2, 8, 9, 10), complex), {"trajectory": np.ones((8, 10, 2))}, r"here \(8, 9, 2\)"),
        (np.ones((2, 8, 9, 10), complex), {"trajectory": np.ones((8, 9, 3))}, "a trajectory is"),
        (np.ones((2, 8, 9, 10), complex), {"matrix": 8}, "give the trajectory"),
    ],
)
def test_what_does_not_fit_is_said(array, named, words):
    with pytest.raises(InputError, match=words):
        quick(array, **named)
