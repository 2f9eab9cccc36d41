"""`bench peers`: the sweep is on other data, what is there is not run again, tables say what they hold."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from mrunfold.benchmarks.datasets import FullSlice, scanned
from mrunfold.benchmarks.peers import compare, picture, run, table
from mrunfold.benchmarks.peers.cases import Case, scans
from mrunfold.benchmarks.peers.compare import Cases
from mrunfold.benchmarks.peers.rows import PeerRow, load, merged, save
from mrunfold.benchmarks.peers.settings import GRIDS, PEERS, limited
from mrunfold.benchmarks.quality.learned import contestants
from mrunfold.benchmarks.tables import markdown
from mrunfold.errors import InputError
from mrunfold.methods import Result, get_method
from mrunfold.networks.peers import build_peer
from mrunfold.networks.weights import save_peer
from mrunfold.operators.imaging import Inpaint
from mrunfold.problem import Problem
from mrunfold.protocols import ModlSpec

PLAN = run.Plan(("ddnm",), 4, draws=2, our_draws=2, photographs=True, weights="natural-compact")


def case(data, image):
    """Return a ramp of which two pixels of three are seen."""
    mask = (torch.arange(256).reshape(16, 16) % 3 != 0).float()
    A = Inpaint(mask)
    x = torch.linspace(0.2, 0.8, 16).expand(3, 16, 16)
    truth = x.numpy()

    def score(found):
        return float(-10 * np.log10(np.mean((found.numpy() - truth) ** 2))), 0.5, None

    problem = Problem(A(x), A, torch.tensor(0.02), torch.tensor(1.0))
    shown = lambda found: found.numpy()  # noqa: E731
    return Case(data, image, "random", "16x16", problem, score, shown, truth, np.ones(truth.shape, bool), 1.0)


def row(image, method, setting, psnr, one=None, lpips=None, **changes):
    found = PeerRow(
        "CBSD68", image, "x4", method, setting, "64x64", 1, psnr, 0.7, lpips, (one, lpips), None, None, 50,
        1.5, 1, "{}",
    )  # fmt: skip
    return replace(found, **changes)


@pytest.fixture(scope="module")
def rows():
    return run.measure([partial(case, "Set14", "a")], [partial(case, "CBSD68", "b")], PLAN)


def test_the_sweep_is_on_the_tuning_data_alone(rows):
    trials = [r for r in rows if r.setting.startswith("trial")]
    assert {r.data for r in trials} == {"Set14"}
    assert len(trials) == len(GRIDS["ddnm"])
    best = max(trials, key=lambda r: r.psnr)
    swept = next(r for r in rows if r.setting == "swept")
    assert swept.data == "CBSD68"
    assert json.loads(swept.made_by) == json.loads(best.setting.removeprefix("trial ")) | {"steps": 4}
    published = next(r for r in rows if r.setting == "published")
    assert json.loads(published.made_by) == {"steps": 4}
    assert (swept.evaluations, swept.draws) == (8, 2)
    assert swept.crps > 0
    assert swept.coverage is None  # two draws are no interval


def test_each_task_has_its_own_best_setting(rows):
    best, worst = (
        pick((r for r in rows if "trial" in r.setting), key=lambda r: r.psnr) for pick in (max, min)
    )

    def upside_down():
        scan = case("Set14", "a")
        return replace(scan, task="x2", score=lambda x: (-scan.score(x)[0], 0.5, None))

    tuning = [partial(case, "Set14", "a"), upside_down]
    found = run.measure(tuning, [partial(case, "CBSD68", "b"), upside_down], PLAN)
    swept = {r.task: json.loads(r.made_by) for r in found if r.setting == "swept"}
    assert swept == {"random": json.loads(best.made_by), "x2": json.loads(worst.made_by)}


def test_a_run_goes_on_where_it_was(rows, tmp_path, monkeypatch):
    save(rows, tmp_path / "rows.json")
    earlier = load(tmp_path / "rows.json")
    assert earlier == rows
    monkeypatch.setattr(run, "get_method", None)  # nothing may be run
    again = run.measure([partial(case, "Set14", "a")], [partial(case, "CBSD68", "b")], PLAN, done=earlier)
    assert again == rows


def test_another_prior_is_run_again(rows, monkeypatch):
    told = []
    monkeypatch.setattr(run, "prior_of", lambda name, case: "another" if name == "ddnm" else None)
    run.measure([], [partial(case, "CBSD68", "b")], PLAN, told.append, rows)
    (again,) = (r for r in told if r.method == "ddnm")
    before = [r.prior for r in rows if r.method == "ddnm"]
    assert again.prior == "another"
    assert {len(name) for name in before} == {12}
    assert all(r.prior is None for r in rows if r.method == "unfold")


def test_another_setting_is_run_again(rows):
    plan = replace(PLAN, evaluations=5)
    told = []
    run.measure([], [partial(case, "CBSD68", "b")], plan, told.append, rows)
    assert {json.loads(r.made_by)["steps"] for r in told if r.method == "ddnm"} == {5}
    assert len(merged(told, rows)) == len(rows)


def test_ours_against_the_best():
    measured = [
        *(row(str(i), "unfold", "mean", 30.0 + i) for i in range(3)),
        *(row(str(i), "unfold", "draws", 30.0, 29.0, 0.2, draws=16) for i in range(3)),
        *(row(str(i), "ddnm", "swept", 28.0, 28.0, 0.3) for i in range(3)),
        *(row(str(i), "dps", "swept", 29.0 + (i == 2), 29.0, 0.4) for i in range(3)),
        row("0", "daps", "swept", 60.0, 60.0, 0.01),  # of one image only: not the best of all three
        row("a", "ddnm", 'trial {"eta": 0.5}', 99.0, data="Set14"),
    ]
    assert table.gains(measured) == [("CBSD68", "x4", "dps, swept", [1.0, 2.0, 2.0])]
    ((_, _, best, off),) = table.gains(measured, "lpips")
    assert best == "ddnm, swept"
    assert np.allclose(off, -0.1)
    assert "| LPIPS of one draw | CBSD68 | x4 | ddnm, swept | 3 | -0.100 | -0.100 to -0.100 | -33.3 |" in (
        table._gains(measured)
    )
    ((_, _, best, off),) = table.gains(measured, "one")
    assert best == "dps, swept"
    assert np.allclose(off, 0.0)


def test_tables_from_the_file(tmp_path):
    path = tmp_path / "peers.json"
    save(
        [
            row("0", "unfold", "mean", 30.0),
            row("0", "ddnm", "swept", 28.0, 28.0, 0.3),
            row("a", "ddnm", 'trial {"eta": 0.5}', 27.0, 27.0, data="Set14"),
        ],
        path,
    )
    scores, gains, sweep = markdown([path])
    assert (
        "| CBSD68 | x4 | ddnm, swept | 1 | 1 | 28.00 | 0.7000 | 0.300 | 28.00 | 0.300 |  |  | 50 | 1.5 |"
        in scores
    )
    assert "Set14" not in scores
    assert "| PSNR of the mean, dB | CBSD68 | x4 | ddnm, swept | 1 | +2.000 | too few |  |" in gains
    assert "| method | setting | Set14, x4 |" in sweep
    assert "| ddnm | eta: 0.5 | 27.00 |" in sweep


def test_evaluations_are_limited_in_steps():
    assert limited("ddnm", {"eta": 1.0}, 20) == {"eta": 1.0, "steps": 20}
    assert limited("daps", {}, 50) == {"steps": 10}
    assert limited("dds", {}, 400) == {"steps": 50}
    assert limited("dps", {}, None) == {}
    with pytest.raises(InputError, match="daps takes 5 evaluations a step"):
        limited("daps", {}, 4)
    with pytest.raises(InputError, match="no sampler of others is called 'tv'"):
        limited("tv", {}, 4)


def test_grids_are_of_parameters_that_exist():
    for name in PEERS:
        assert GRIDS[name][0] == {}
        for parameters in GRIDS[name]:
            assert get_method(name, **parameters).name == name


def slices(path):
    return [FullSlice(f"{path.name}/{i}", np.zeros((1, 8, 8)), None, True) for i in range(6)]


def test_what_is_tuned_on_is_not_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "full_slices", slices)
    tuning = Cases([tmp_path], 1, None, [("random", 4.0)])
    (tuned,) = tuning.made(False, None, tmp_path)
    shown = Cases([tmp_path], 3, None, [("random", 4.0)]).made(False, None, tmp_path, tuned=tuning)
    names = [made.args[0].name.rpartition("/")[2] for made in shown]
    assert tuned.args[0].name.endswith("/0")
    assert names == ["1", "3", "5"]
    with pytest.raises(InputError, match="is tuned on"):
        Cases([tmp_path], 1, None).made(True, None, tmp_path / "shake.png", tuned=tuning)


def test_a_picture_has_every_method_once(rows, tmp_path, monkeypatch):
    titles = []
    show = picture._show
    monkeypatch.setattr(
        picture, "_show", lambda a, image, title: [titles.append(title), show(a, image, title)]
    )
    picture.write_picture(tmp_path / "a.png", [case("CBSD68", "b")], rows, PLAN)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    above = titles[::2]
    assert [title.rpartition(",")[0] or title for title in above] == [
        "reference", "unfold, mean", "unfold, one draw", "ddnm",
    ]  # fmt: skip
    mean = next(r for r in rows if (r.method, r.setting) == ("unfold", "mean"))
    assert above[1] == f"unfold, mean, {mean.psnr:.1f} dB"


def test_learned_networks_have_a_row_and_a_column(tmp_path, monkeypatch):
    spec = ModlSpec(kind="modl", iterations=2, cg_iterations=4, layers=2, features=4)
    facts = {"minutes": "14.9", "step": "7"}
    save_peer(tmp_path / "modl.safetensors", build_peer(spec), spec, facts)
    monkeypatch.setattr(run, "GRID", (0.01,))
    monkeypatch.setattr(picture, "GRID", (0.01,))
    y, x = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    disc = (x**2 + y**2 < 0.7) * (1 + 0.3 * np.sin(8 * x) + 0.2j * y)
    (made,) = scans([scanned(disc.astype(np.complex64), "disc/0", coils=4)], [("random", 3.0)], None)
    plan = run.Plan((), our_draws=0, learned=contestants([tmp_path / "modl.safetensors"]))
    rows = run.measure([], [made], plan)
    assert [(r.method, r.setting) for r in rows] == [
        ("unfold", "mean"), ("l1_wavelet", "swept"), ("modl", "15 minutes"),
    ]  # fmt: skip
    assert json.loads(rows[-1].made_by) == {"weights": plan.learned[0].weights}
    titles = []
    monkeypatch.setattr(picture, "_show", lambda axis, image, title: titles.append(title))
    monkeypatch.setattr(picture, "WIDEST", 3)  # four images are two bands
    picture.write_picture(tmp_path / "a.png", [made()], rows, plan)
    assert titles[::2] == [
        "reference, random 3", f"unfold, mean, {rows[0].psnr:.1f} dB", f"L1-wavelet, {rows[1].psnr:.1f} dB",
        f"modl, 15 min, {rows[2].psnr:.1f} dB",
    ]  # fmt: skip
    with pytest.raises(InputError, match="take scans, not photographs"):
        replace(plan, photographs=True)


def test_coverage_has_a_few_draws_at_least():
    scan = case("CBSD68", "b")
    noise = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    draws = torch.from_numpy(scan.truth) + 0.1 * noise
    covered, score = run._spread(scan, Result(draws.mean(dim=0), samples=draws))
    assert covered > 0.95  # they lie about the truth, of which no interval is narrower than all of them
    assert score > 0
    assert run._spread(scan, Result(draws.mean(dim=0), samples=draws[:7]))[0] is None


def test_tasks_of_an_image_are_drawn_together():
    measured = [
        row(str(i), method, setting, psnr + i, task=task)
        for task in ("x2", "x4")
        for i in range(3)
        for method, setting, psnr in (("unfold", "mean", 30.0 + i), ("ddnm", "swept", 29.0))
    ]
    line = next(line for line in table._gains(measured).splitlines() if "| all | all |" in line)
    assert "| 3 | +2.000 |" in line, "three images, not six"
