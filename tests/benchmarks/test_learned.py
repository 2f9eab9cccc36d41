"""`bench learned`: which scans are outside of training, rows that go on, tables."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from mrunfold.benchmarks import tables as pages
from mrunfold.benchmarks.datasets import scanned
from mrunfold.benchmarks.quality.learned import LearnedRow, contestants, load, measure, save, tables
from mrunfold.errors import InputError
from mrunfold.networks.peers import build_peer
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import save_peer, save_weights
from mrunfold.protocols import ModlSpec, NetworkSpec, PriorSpec, UnetSpec

RANGE = {"masks": ["random"], "accelerations": [2.0, 4.0], "coils": [2, 8]}
FACTS = {"range": json.dumps(RANGE), "minutes": "12.01", "step": "7"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    modl = ModlSpec(kind="modl", iterations=2, cg_iterations=4, layers=2, features=4)
    save_peer(folder / "modl.safetensors", build_peer(modl), modl, FACTS)
    unet = UnetSpec(kind="unet", chans=4, pools=2)
    save_peer(folder / "unet.safetensors", build_peer(unet), unet, FACTS)
    ours = NetworkSpec(blocks=1, shared=True, prior=PriorSpec(widths=(4,), blocks=1))
    save_weights(folder / "unfold.safetensors", PosteriorDenoiser.from_spec(ours), ours, FACTS)
    return [folder / f"{name}.safetensors" for name in ("unfold", "modl", "unet")]


@pytest.fixture(scope="module")
def full():
    y, x = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    image = (x**2 + y**2 < 0.7) * (1 + 0.3 * np.sin(8 * x) + 0.2j * y)
    return scanned(image.astype(np.complex64), "disc/0", coils=4)


def test_rows_say_what_training_did_not_show_and_go_on(files, full, tmp_path):
    networks = contestants(files)
    assert [one.method.name for one in networks] == ["unet", "modl", "unfold"]
    rows = measure([full], [("random", 3.0), ("poisson", 6.0)], networks)
    assert [(r.mask, r.method) for r in rows[:4]] == [
        ("random", name) for name in ("zero_filled", "unet", "modl", "unfold")
    ]
    assert {r.outside for r in rows if r.method != "zero_filled"} == {(), ("mask", "R")}
    assert rows[0].outside is None
    assert rows[2].trained == (12.01, 7)
    assert len({r.psnr for r in rows[:4]}) == 4
    assert all(np.isfinite(r.psnr) and np.isfinite(r.rss) for r in rows)
    save(rows[:3], tmp_path / "learned.json")
    earlier = load(tmp_path / "learned.json")
    assert earlier == rows[:3]
    new = []
    again = measure(
        [full], [("random", 3.0)], networks, report=new.append, done=[replace(earlier[1], psnr=-1.0)]
    )
    assert again[1].psnr == -1.0
    assert [r.key for r in again] == [r.key for r in rows[:4]]


def test_coils_outside_of_training_are_said(files):
    one = contestants(files)[0]
    assert one.outside("random", 3.0, 32) == ("coils",)
    assert one.outside("poisson", 12.0, 1) == ("mask", "R", "coils")


def test_files_that_cannot_be_compared_are_refused(files, tmp_path):
    with pytest.raises(InputError, match="second file of unet"):
        contestants([files[2], files[2]])
    with pytest.raises(InputError, match="no weights gone"):
        contestants([Path("gone.safetensors")])
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no file of weights"):
        contestants([tmp_path / "bad.safetensors"])


def row(method, psnr, rss, outside, data="a/0"):
    mask, accel = ("poisson", 8.0) if outside else ("random", 4.0)
    return LearnedRow(
        data, 8, mask, accel, 0, method, psnr, rss, 0.5, 2_000_000, (12.0, 300), outside, method
    )


def test_tables_have_the_means_and_the_gain_over_varnet_on_either_side(tmp_path):
    rows = [
        *(row("zero_filled", 10.0, 10.0, None, data) for data in ("a/0", "a/1")),
        replace(row("zero_filled", 10.0, 10.0, None), mask="poisson", accel=8.0),
        row("varnet", 30.0, 31.0, ()), row("unfold", 32.0, 32.0, ()),
        row("varnet", 32.0, 33.0, (), "a/1"), row("unfold", 33.0, 33.5, (), "a/1"),
        row("varnet", 20.0, 21.0, ("mask",)), row("unfold", 25.0, 27.0, ("mask",)),
        row("varnet", 20.0, 21.0, ("mask",), "a/1"),
    ]  # fmt: skip
    scores, networks = tables({"rows": [asdict(r) for r in rows]})
    assert "| a | 8 | random 4 | – | 2 | 10.00 / 10.00 | 31.00 / 32.00 | 32.50 / 32.75 |" in scores
    assert "| a | 8 | poisson 8 | mask | 1 | 10.00 / 10.00 | 20.00 / 21.00 | 25.00 / 27.00 |" in scores
    assert "within training |  |  |  | 2 |  |  | +1.50 / +0.75 (least +1.00 / +0.50) |" in scores
    assert "outside training |  |  |  | 1 |  |  | +5.00 / +6.00 (least +5.00 / +6.00) |" in scores
    assert "| varnet | 2.00 | 12.0 | 300 | 0.50 |" in networks
    save(rows, tmp_path / "learned.json")
    assert pages.markdown([tmp_path / "learned.json"]) == [scores, networks]


def test_a_mask_with_too_small_a_centre_is_said_and_left_out(files, full, capsys):
    rows = measure([full], [("random", 20.0), ("random", 3.0)], contestants(files)[:1])
    assert {r.accel for r in rows} == {3.0}
    assert "disc/0 random R=20: the fully sampled centre" in capsys.readouterr().out


def test_the_page_has_the_tables_of_its_file():
    root = Path(__file__).resolve().parents[2] / "docs"
    held = pages.on_page((root / "results-learned.md").read_text(encoding="utf-8"))
    found = [table for name, table in held if name == "learned.json"]
    assert found == pages.markdown([root / "results" / "learned.json"])
