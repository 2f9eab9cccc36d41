"""`mrunfold restore` on the command line: what it prints, writes and refuses."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.cli.main import run
from mrunfold.io.images import read_photo, write_photo

TV = ["--method", "tv_isotropic", "--param", "max_iter=5"]


@pytest.fixture
def restore(monkeypatch, capsys):
    """Run the command and return (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["mrunfold", "restore", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run()
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def photo(tmp_path):
    ramp = np.linspace(0.1, 0.9, 70)
    write_photo(tmp_path / "a.png", np.stack([ramp[:60, None] * ramp] * 3))
    return tmp_path / "a.png"


def test_one_image_beside_itself(restore, photo):
    code, out, err = restore(photo, "--task", "deblur", "--kernel", "motion", "--noise", "0.02", *TV)
    assert (code, err) == (0, "")
    assert "σ = 0.0200" in out
    assert "as given" in out
    assert read_photo(photo.with_name("a_restored.png")).pixels.shape == (3, 60, 70)


def test_a_simulation_prints_scores(restore, photo, tmp_path):
    out_folder = tmp_path / "out"
    code, out, _ = restore(
        photo, "--task", "upscale", "--factor", "2", "--simulate", "--noise", "0.02", "--out", out_folder, *TV
    )
    assert code == 0
    assert "PSNR" in out
    assert sorted(p.name for p in out_folder.iterdir()) == [
        "a_degraded.png", "a_preview.png", "a_restored.json", "a_restored.png",
    ]  # fmt: skip
    assert sorted(p.name for p in photo.parent.glob("*.png")) == ["a.png"]


def test_a_folder_goes_on_past_a_bad_file(restore, photo, tmp_path):
    (tmp_path / "bad.png").write_text("hello")
    arguments = (tmp_path, "--task", "denoise", "--noise", "auto", *TV)
    code, out, err = restore(*arguments)
    assert code == 2
    assert "estimated from the image" in out
    first, last = err.strip().splitlines()
    assert "bad.png" in first
    assert "1 of 2 images" in last
    before = sorted(tmp_path.iterdir())
    restore(*arguments)  # what was written is not restored again
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "sharpen"], "no task"),
        (["--task", "denoise", "--noise", "loud"], "--noise is auto"),
        (["--task", "deblur", "--kernel", "disc:200", "--noise", "0.1"], "smaller kernel"),
        (["--task", "denoise", "--noise", "0.1", "--param", "lambda=1"], "no parameter"),
        (["--task", "denoise", "--noise", "0.1", "--method", "tv_isotropix"], "did you mean"),
    ],
)
def test_bad_options_are_one_line(restore, photo, arguments, message):
    code, out, err = restore(photo, *TV[:2], *arguments)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert message in err
    assert [p.name for p in photo.parent.iterdir()] == ["a.png"]


def test_bad_files_are_one_line(restore, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    for path in (tmp_path / "empty.png", tmp_path / "none.png"):
        code, _, err = restore(path, "--task", "denoise", *TV)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
