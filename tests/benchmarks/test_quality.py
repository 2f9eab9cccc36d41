"""The comparison of `bench quality`: what it sums up, and that a run goes on where it stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rawfiles import coil_kspace, fft2c, ifft2c, write_fastmri
from typer.testing import CliRunner

from mrunfold.benchmarks.datasets import FullSlice, full_slices
from mrunfold.benchmarks.quality import scans as quality
from mrunfold.benchmarks.quality.scans import Row, load, markdown, measure, merged, save, summary
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io.scan import Header
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import save_weights
from mrunfold.protocols import NetworkSpec, PriorSpec

SPEC = NetworkSpec(blocks=1, shared=True, cg_iterations=3, prior=PriorSpec(widths=(4, 4), blocks=1))


def row(method: str, psnr: float, data: str = "set/a", seed: int = 0, coverage: float | None = None) -> Row:
    return Row(data, False, 8, "random", 4.0, 4.1, seed, 0.01, method, None, psnr, 0.9, 1, 2.0, coverage)


ROWS = [
    *(row(m, v) for m, v in (("zero_filled", 20.0), ("l1_wavelet", 30.0), ("tv", 31.0))),
    row("unfold", 33.0, coverage=0.8),
    *(row(m, v, "set/b") for m, v in (("zero_filled", 22.0), ("l1_wavelet", 36.0), ("tv", 31.0))),
    row("unfold", 35.0, "set/b", coverage=0.9),
]


@pytest.fixture
def weights(tmp_path: Path) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PosteriorDenoiser.from_spec(SPEC)
    save_weights(tmp_path / "tiny.safetensors", network, SPEC)
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def full() -> FullSlice:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 40)), indexing="ij")
    image = ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) + 0.5 * ((y / 0.3) ** 2 + (x / 0.3) ** 2 < 1)
    kspace = coil_kspace(image[None].astype(np.float32), coils=4, noise=1e-2)[0]
    return FullSlice("disc", kspace, Header("cfl", 1, 4, (48, 40), 48, (48, 40)), True)


def test_the_gain_is_over_the_best_classical_method_of_each_image():
    (line,) = summary(ROWS)
    assert (line["data"], line["n"]) == ("set", 2)
    assert line["gain"] == pytest.approx(((33 - 31) + (35 - 36)) / 2)
    assert line["unfold"] == pytest.approx(34)
    assert line["coverage"] == pytest.approx(0.85)


def test_the_table_holds_what_the_summary_says():
    head, rule, line = markdown(ROWS).strip().split("\n")
    assert head.count("|") == rule.count("|") == line.count("|")
    assert line == "| set | random | 4 | 2 | 21.00 | 33.00 | 31.00 | 34.00 | +0.50 | -1.00 | 0.850 | 2.0 |"


def test_the_least_gain_and_those_by_the_root_sum_of_squares():
    assert summary(ROWS)[0]["rss_gain"] is None
    rss = {"zero_filled": 10.0, "l1_wavelet": 30.0, "tv": 31.0, "unfold": 33.0}
    rows = [
        replace(r, rss=rss[r.method] - (3 if r.data == "set/b" and r.method == "unfold" else 0)) for r in ROWS
    ]
    (line,) = summary(rows)
    assert (line["gain"], line["least"]) == (0.5, -1.0)
    assert (line["rss_gain"], line["rss_least"]) == (0.5, -1.0)


def test_images_that_ours_has_not_reached_are_left_out():
    assert summary(ROWS[:3]) == []
    (line,) = summary(ROWS[:7])
    assert (line["n"], line["gain"]) == (1, 2.0)


def test_without_a_rival_there_is_no_gain():
    assert "gain" not in markdown([r for r in ROWS if r.method == "unfold"])


def test_rows_come_back_as_they_were_saved(tmp_path: Path):
    save(ROWS, tmp_path / "rows.json")
    assert load(tmp_path / "rows.json") == ROWS
    (tmp_path / "other.json").write_text("[1]")
    for name, message in (("absent.json", "no file"), ("other.json", "not a table")):
        with pytest.raises(InputError, match=message):
            load(tmp_path / name)


def test_a_run_goes_on_with_the_rows_it_has(full: FullSlice, weights: str, monkeypatch: pytest.MonkeyPatch):
    def run(done=(), **changes):
        settings = {"weights": weights, "grid": (0.01,), "classical": ("l1_wavelet",)} | changes
        return measure([full], [("random", 2.0)], range(2), done=done, **settings)

    first = run()
    assert [r.method for r in first] == ["zero_filled", "l1_wavelet", "unfold"] * 2
    assert all(r.simulated and r.coils == 4 for r in first)
    assert {r.seed for r in first} == {0, 1}
    kept = [replace(r, psnr=1.0) for r in first if not (r.seed == 1 and r.method == "unfold")]
    again = run(kept)
    assert [r.psnr for r in again[:-1]] == [1.0] * 5
    assert again[-1].psnr == pytest.approx(first[-1].psnr)
    # Another grid, and more samples: the rows that this changes are measured anew.
    sampled = run(kept, samples=3, steps=2, grid=(0.02,))
    assert [r.psnr == 1.0 for r in sampled] == [True, False, False] * 2
    assert all(r.coverage is not None for r in sampled if r.method == "unfold")
    sets: list[int] = []
    built = quality.build_problem

    def build(*given, **named):
        problem = built(*given, **named)
        sets.append(problem.A.domain.shape[0])
        return problem

    monkeypatch.setattr(quality, "build_problem", build)
    fixed = run(first, map_sets=2)
    assert sets == [2, 2]
    assert all(r.made_by.endswith("2 sets of maps") for r in fixed)
    monkeypatch.setattr(quality, "build_problem", lambda *_, **__: pytest.fail("nothing was left to do"))
    assert run(first) == first
    assert run(fixed, map_sets=2) == fixed


def test_a_raw_scan_with_readout_oversampling(tmp_path: Path, full: FullSlice):
    """Twice the readout's field of view, as scanners store it: what lies outside is no part of the truth."""
    image = np.pad(ifft2c(full.kspace), ((0, 0), (24, 24), (0, 0)))
    path = write_fastmri(tmp_path / "scan.h5", fft2c(image)[None], crop=(48, 40))
    (found,) = full_slices(path)
    assert found.kspace.shape == (4, 48, 40)
    np.testing.assert_allclose(found.kspace, full.kspace, atol=1e-4 * np.abs(full.kspace).max())
    rows = measure([found], [("random", 2.0)], [0], grid=(0.01,), classical=("tv",), ours={"passes": 1})
    plain = measure([full], [("random", 2.0)], [0], grid=(0.01,), classical=("tv",), ours={"passes": 1})
    for a, b in zip(rows, plain, strict=True):
        assert (a.psnr, a.rss) == (pytest.approx(b.psnr, abs=0.05), pytest.approx(b.rss, abs=0.05))


def test_new_weights_replace_the_row_and_leave_the_rest():
    """A row made by other weights must not stand beside the new one: the summary would count both."""
    ours = next(r for r in ROWS if r.method == "unfold")
    new = replace(ours, psnr=50.0, made_by="other weights")
    rows = merged([new], ROWS)
    assert len(rows) == len(ROWS)
    assert new in rows
    assert ours not in rows
    assert [r for r in ROWS if r.key != ours.key] == rows[1:]
    assert summary(rows)


def test_the_command_keeps_what_it_did_not_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run of one mask must not cost the file the others."""
    new = [replace(row, mask="poisson", accel=12.0) for row in ROWS]
    monkeypatch.setattr("mrunfold.benchmarks.datasets.full_slices", lambda *given: iter(()))

    def measured(*_, report, **__):
        for each in new:
            report(each)
        return new

    monkeypatch.setattr(quality, "measure", measured)
    save(ROWS, tmp_path / "rows.json")
    arguments = ["bench", "quality", "scan.h5", "--mask", "poisson:12", "--out", str(tmp_path / "rows.json")]
    result = CliRunner().invoke(main.app, arguments)
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "rows.json") == [*new, *ROWS]


def test_the_command_prints_the_table_of_a_file(tmp_path: Path):
    save(ROWS, tmp_path / "rows.json")
    result = CliRunner().invoke(main.app, ["bench", "table", str(tmp_path / "rows.json")])
    assert result.exit_code == 0, result.output
    assert markdown(ROWS) in result.stdout
