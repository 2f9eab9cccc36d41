"""The comparison on photographs: rows, resuming, tables and what is claimed of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrunfold.benchmarks.photographs.restore import (
    GRIDS,
    SEEN,
    UNSEEN,
    measure,
    read_images,
    rivals_here,
    tasks,
    write_shake,
)
from mrunfold.benchmarks.photographs.rows import RestoreRow, load, merged, save
from mrunfold.benchmarks.photographs.table import claims, markdown, swap_gains
from mrunfold.errors import InputError
from mrunfold.io.images import read_kernel, write_photo
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import save_weights
from mrunfold.protocols import NetworkSpec, PriorSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Set")
    rng = np.random.default_rng(0)
    for n in range(2):
        write_photo(folder / f"{n}.png", np.kron(rng.random((3, 6, 7)), np.ones((8, 8))))
    spec = NetworkSpec(
        blocks=1, shared=True, prior=PriorSpec(kind="real", channels=3, widths=(4, 6), blocks=1)
    )
    save_weights(folder / "tiny.safetensors", PosteriorDenoiser.from_spec(spec), spec)
    return folder


def test_rows_resume_and_print(folder, tmp_path, monkeypatch):
    write_shake(tmp_path / "shake.png")
    kernel = read_kernel(tmp_path / "shake.png")
    assert kernel.shape == (19, 19)
    settings = tasks(tmp_path / "shake.png")
    assert set(settings) == {*SEEN, *UNSEEN}
    chosen = {name: settings[name] for name in ("x4", "shake")}
    images = read_images(folder, crop=32)
    assert [photo.pixels.shape for _, photo in images] == [(3, 32, 32)] * 2
    options = {"weights": str(folder / "tiny.safetensors"), "rivals": ("tikhonov",), "steps": 2}
    rows = measure("Set", images, chosen, **options)
    assert [(r.task, r.method) for r in rows[::2]] == [
        ("x4", "tikhonov"), ("x4", "unfold"), ("x4", "unfold sample"), ("shake", "tikhonov"),
        ("shake", "unfold"),
    ]  # fmt: skip
    assert {r.evaluations for r in rows if r.method == "unfold sample"} == {1 + 3}
    assert all(r.parameters in GRIDS["tikhonov"] for r in rows if r.method == "tikhonov")
    save(rows, tmp_path / "rows.json")
    held = load(tmp_path / "rows.json")
    assert held == rows

    def no_more(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr("mrunfold.benchmarks.photographs.restore.run_method", no_more)
    assert measure("Set", images, chosen, **options, done=held) == rows
    assert markdown(rows).count("\n") == 2 + 5
    # The same image in another size is another measurement, and takes the place of the first.
    with pytest.raises(AssertionError, match="measured again"):
        measure("Set", read_images(folder, crop=40), chosen, **options, done=held)
    assert "shake (unseen)" in markdown(rows)
    with pytest.raises(InputError, match="not a table"):
        load(tmp_path / "shake.png")


def row(task, method, value, lpips=None, seconds=1.0):
    return RestoreRow("Set", "a", task, 0.02, method, {}, value, 0.9, lpips, 1, seconds)


def test_claims_are_what_the_rows_say():
    rows = [
        row("gaussian", "unfold", 30.0), row("gaussian", "tv_isotropic", 27.0),
        row("motion", "unfold", 29.0), row("motion", "tv_isotropic", 27.0),
        row("disc", "unfold", 28.0), row("disc", "tv_isotropic", 26.0),
        row("x4", "unfold", 25.0, 0.3), row("x4", "unfold sample", 23.0, 0.2),
        row("motion", "plug_and_play", 28.0, seconds=3.0),
    ]  # fmt: skip
    assert swap_gains(rows) == [("disc", 2.0, 2.5)]
    text = claims(rows)
    assert "unfold over tv_isotropic: +2.50 dB, mean of 2 trained tasks" in text
    assert "LPIPS on x4: one sample 0.2000, mean 0.3000" in text
    assert "unseen disc: +2.00 dB over TV, its trained neighbours +2.50 dB" in text
    assert "plug_and_play takes 3.0× as long" in text


def test_what_is_measured_anew_replaces_what_was():
    old, other = row("gaussian", "unfold", 30.0), row("motion", "unfold", 29.0)
    new = replace(row("gaussian", "unfold", 31.0), made_by="other weights", size="40x40")
    assert new.key != old.key
    assert merged([new], [old, other]) == [new, other]


def test_without_deepinv_its_row_is_left_out_and_that_is_said(monkeypatch):
    said = []
    monkeypatch.setattr("mrunfold.benchmarks.photographs.restore.installed", lambda: False)
    assert rivals_here(said.append) == ("tikhonov", "tv_isotropic", "plug_and_play")
    assert len(said) == 1
    assert "pip install 'mrunfold[bench]'" in said[0]
    monkeypatch.setattr("mrunfold.benchmarks.photographs.restore.installed", lambda: True)
    assert rivals_here(said.append) == tuple(GRIDS)
    assert len(said) == 1
