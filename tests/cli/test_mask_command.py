"""`mrunfold mask`: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mrunfold.cli.mask import mask
from mrunfold.errors import InputError
from mrunfold.masks import KINDS, draw, seed_from_name

app = typer.Typer()
app.command()(mask)


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_describes_what_was_delivered():
    output = call("poisson", "--size", "96x128", "--accel", "8", "--calibration", "16", "--seed", "3")
    drawn = draw("poisson", (96, 128), 8, seed=3, calibration=16)
    assert "8 asked" in output
    assert f"{drawn.delivered:.3f} delivered" in output
    assert f"{drawn.array.sum()} of {96 * 128}" in output
    assert "16 × 16 fully sampled" in output


def test_npy_is_the_mask(tmp_path):
    out = tmp_path / "mask.npy"
    call("random", "--size", "32x64", "--accel", 4, "--seed", "file1.h5", "--out", out)
    expected = draw("random", (32, 64), 4, seed=seed_from_name("file1.h5")).array
    np.testing.assert_array_equal(np.load(out), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["mask.npy"]


def test_png_is_the_mask_upright(tmp_path):
    from matplotlib.image import imread

    out = tmp_path / "mask.PNG"
    call("radial", "--size", "48x64", "--accel", 4, "--seed", 2, "--out", out)
    np.testing.assert_array_equal(imread(out)[..., 0] > 0.5, draw("radial", (48, 64), 4, seed=2).array)


def test_calibration_of_two_sizes():
    assert "10 × 30 fully sampled" in call("poisson", "--size", "64x128", "--calibration", "10x30")


def test_gallery(tmp_path):
    out = tmp_path / "masks.png"
    output = call("--gallery", out, "--size", "64x64")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert all(kind in output for kind in KINDS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["poison"], "did you mean poisson"),
        (["--size", "320"], "320x320"),
        (["--size", "axb"], "320x320"),
        (["--calibration", "many"], "24x32"),
        (["--out", "mask.jpg"], "npy or a .png"),
        (["--gallery", "masks.jpg"], "png"),
        (["--gallery", "masks.png", "--calibration", "8"], "leave out"),
        (["--accel", "1e6"], "leaves no"),
        (["--accel", "nan"], "from 1 up"),
        (["--seed", "-3"], "seed"),
        (["--out", "nowhere/mask.npy"], "nowhere"),
    ],
)
def test_refuses_and_writes_nothing(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        call(*arguments)
    assert list(tmp_path.iterdir()) == []
