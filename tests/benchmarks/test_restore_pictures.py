"""Pictures of restored photographs: the panels are what they say, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.benchmarks.photographs import pictures as restore_pictures
from mrunfold.benchmarks.photographs.pictures import GAP, HEADING, LEFT, PICTURED, draw_row, write_pictures
from mrunfold.benchmarks.photographs.restore import tasks
from mrunfold.errors import InputError
from mrunfold.io.images import read_photo, write_photo
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import save_weights
from mrunfold.protocols import NetworkSpec, PriorSpec


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    spec = NetworkSpec(
        blocks=1, shared=True, prior=PriorSpec(kind="real", channels=3, widths=(4, 6), blocks=1)
    )
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(file, PosteriorDenoiser.from_spec(spec), spec)
    return str(file)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(restore_pictures, "GRIDS", {"tv_isotropic": ({"lamda": 0.01, "max_iter": 5},)})


def pixels(channels=3, side=64):
    return np.kron(np.random.default_rng(0).random((channels, side // 8, side // 8)), np.ones((8, 8)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_of_panels(weights, few, tmp_path, channels):
    write_photo(tmp_path / "a.png", pixels(channels))
    photo = read_photo(tmp_path / "a.png")
    row = draw_row(photo, tasks(tmp_path / "none.png")["x4"], weights=weights, samples=2, steps=2)
    names = [heading.split(",")[0] for heading, _ in row]
    assert names == ["degraded", "TV", "ours (mean)", "ours (one sample)", "std. deviation ×5", "truth"]
    assert all(" dB" in heading for heading, _ in row[1:4])
    assert {image.shape[1:] for _, image in row} == {(64, 64)}
    np.testing.assert_array_equal(row[-1][1], photo.pixels)
    small = row[0][1][:, ::4, ::4]  # of the degraded image each pixel is a square
    np.testing.assert_array_equal(row[0][1], np.kron(small, np.ones((1, 4, 4), small.dtype)))
    decibels = -10 * np.log10(np.mean((row[2][1] - photo.pixels) ** 2))
    assert row[2][0] == f"ours (mean), {decibels:.1f} dB"


def test_the_picture_holds_the_panels_as_they_are(weights, few, tmp_path):
    for n in range(4):
        write_photo(tmp_path / f"{n}.png", np.roll(pixels(), n, axis=0))
    files = [tmp_path / f"{n}.png" for n in range(4)]
    said = []
    write_pictures(
        tmp_path / "out.png", files, weights=weights, crop=64, samples=2, steps=2, report=said.append
    )
    picture = read_photo(tmp_path / "out.png").pixels
    assert picture.shape == (3, 4 * (64 + HEADING + GAP), LEFT + 6 * (64 + GAP))
    for n, file in enumerate(files):
        top, left = n * (64 + HEADING + GAP) + HEADING, LEFT + 5 * (64 + GAP)
        np.testing.assert_array_equal(
            picture[:, top : top + 64, left : left + 64], read_photo(file).pixels, err_msg=f"row {n}"
        )
    assert [line.split(":")[0] for line in said] == list(PICTURED.values())


def test_refusals(tmp_path):
    write_photo(tmp_path / "a.png", pixels())
    with pytest.raises(InputError, match="4 images are drawn"):
        write_pictures(tmp_path / "out.png", [tmp_path / "a.png"])
    with pytest.raises(InputError, match="smaller than 144×144"):
        write_pictures(tmp_path / "out.png", [tmp_path / "a.png"] * 4)
    assert not (tmp_path / "out.png").exists()
