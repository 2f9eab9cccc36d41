"""What the benchmarks of time say: bounds that hold, tables of what was measured, curves with an exponent."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mrunfold.benchmarks import head, tables
from mrunfold.benchmarks.speed import compiled, cost, methods, recon, scaling
from mrunfold.benchmarks.speed import stages as speed
from mrunfold.benchmarks.store import read_measured, save_measured
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import save_weights
from mrunfold.operators import Sense, ifft2c
from mrunfold.problem import Problem
from mrunfold.protocols import NetworkSpec, PriorSpec

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "docs/performance.md": {"speed.json", "serve.json", "samples.json", "volume.json"},
    "docs/scaling.md": {"scaling.json", "compile.json"},
    "docs/concepts/coils.md": {"compression.json"},
    "docs/concepts/training.md": {"optimiser.json"},
    "docs/concepts/check.md": {"check.json"},
    "docs/concepts/adapt.md": {"adapt.json"},
    "docs/results-learned.md": {"learned.json"},
    "docs/results-peers.md": {"peers-draws.json", "peers-mri.json", "peers-photographs.json"},
}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_holds_what_was_measured(page):
    """A place whose file is not there yet is empty: no number stands on the page without its measurement."""
    found = tables.on_page((ROOT / page).read_text(encoding="utf-8"))
    assert {name for name, _ in found} == PAGES[page]
    for name in PAGES[page]:
        path = ROOT / "docs/results" / name
        on_page = [table for other, table in found if other == name]
        expected = tables.markdown([path]) if path.exists() else [""] * len(on_page)
        assert on_page == expected, f"{page}: fill it with mrunfold bench table --page ({name})"


def test_a_page_is_filled_where_it_says_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    first, second = (f"<!-- table: {name}.json -->\n\n" for name in ("here", "missing"))
    page.write_text(f"# Page\n\n{first}| old |\n|---|\n\ntext\n\n{second}end\n", encoding="utf-8")
    (tmp_path / "here.json").write_text(
        json.dumps({"bench": "compile", "plain": 0.5, "rows": []}), encoding="utf-8"
    )
    result = CliRunner().invoke(main.app, ["bench", "table", "--page", str(page), "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "missing.json is not there yet" in result.output
    expected = tables.markdown([tmp_path / "here.json"])[0]
    assert page.read_text(encoding="utf-8") == f"# Page\n\n{first}{expected}\ntext\n\n{second}end\n"
    page.write_text(2 * f"{first}\n", encoding="utf-8")
    with pytest.raises(InputError, match="asks for table 2"):
        tables.fill(page, tmp_path)
    assert CliRunner().invoke(main.app, ["bench", "table"]).exit_code == 2


def test_a_file_of_no_benchmark_is_refused(tmp_path):
    for text in ("nothing", "[1]", '{"bench": "other"}', '{"bench": "speed"}', '{"rows": 3}'):
        path = tmp_path / "file.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            tables.markdown([path])
    with pytest.raises(InputError, match="there is no file"):
        tables.markdown([tmp_path / "none.json"])


@pytest.mark.parametrize(("power", "said"), [(1.0, "linear"), (0.7, "less"), (1.4, "more")])
def test_the_exponent_of_a_curve(power, said):
    work = [1.0, 2.0, 4.0, 8.0]
    p = scaling.exponent(work, [0.3 * w**power for w in work])
    assert p == pytest.approx(power)
    assert scaling.verdict(p).startswith(said)


def test_the_head_is_a_head_seen_through_its_coils():
    problem = head.head_problem(3, 48, slices=2, accel=1.0)
    assert isinstance(problem.A, Sense)
    assert problem.y.shape == (2, 3, 48, 48)
    image = (problem.A.maps.conj() * ifft2c(problem.y)[:, None]).sum(dim=-3)[0, 0].abs()
    assert float(image[24, 24]) > 5 * float(image[:3].mean())
    assert torch.equal(problem.y[0], problem.y[1])
    full = head.head_slice(3, 48).kspace
    assert np.array_equal(head.head_block(3, 48, 4), full[:, 22:26, 22:26])


def test_watched_sense_counts_the_steps_of_each_solve():
    problem = head.head_problem(2, 48, accel=2.0)
    A = cost._Watched(problem.A.maps, problem.A.mask)
    rhs = A.adjoint(problem.y)
    x = A.solve(rhs, 1.0, 0.1, max_iterations=3, tolerance=1e-12)
    again = A.solve(rhs, 1.0, 0.1, x, max_iterations=2, tolerance=1e-12)
    assert [(first, steps) for first, _, steps in A.solves] == [(True, 3), (False, 2)]
    torch.testing.assert_close(again, problem.A.solve(rhs, 1.0, 0.1, x, max_iterations=2, tolerance=1e-12))


def test_the_stopwatch_sees_only_its_modules():
    modules = torch.nn.ModuleList([torch.nn.Linear(300, 300)])
    with cost._Stopwatch(modules) as watch:
        torch.nn.Linear(8, 8)(torch.ones(8))
        assert watch.seconds == 0
        modules[0](torch.ones(300, 300))
        inside = watch.seconds
        assert inside > 0
    modules[0](torch.ones(300, 300))
    assert watch.seconds == inside


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network that was not trained: what is tested here is whether it is measured."""
    spec = NetworkSpec(blocks=2, shared=False, prior=PriorSpec(widths=(4, 6), blocks=1))
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_weights(path, PosteriorDenoiser.from_spec(spec), spec)
    return str(path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, weights):
    """`bench speed --quick`, as a person calls it."""
    folder = tmp_path_factory.mktemp("speed")
    words = ["bench", "speed", "--quick", "--coils", "3", "--size", "48", "--repeats", "1"]
    words += ["--iterations", "2", "--device", "cpu", "--weights"]
    words += [weights, "--out", str(folder / "speed.json")]
    words += ["--csv", str(folder / "speed.csv"), "--picture", str(folder / "speed.png")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "GRID", (0.02,))
        result = CliRunner().invoke(main.app, words)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_speed_names_every_stage_of_recon_with_a_bound(measured):
    folder, output = measured
    found = read_measured(folder / "speed.json")
    stages = {stage["name"]: stage for stage in found["cost"]["stages"]}
    wanted = {
        "read",
        "whiten",
        "compress",
        "coil maps",
        "first solve",
        "priors",
        "data consistency",
        "recon.h5",
    }
    assert wanted | {"draw the mask", "look for data crimes"} <= set(stages)
    assert all(stages[name]["bound"] > 0 for name in wanted)
    assert re.fullmatch(r"\d+ normal operators", stages["first solve"]["note"])
    # Each of two blocks takes at most 4 steps, and begins without a normal operator.
    assert 2 <= int(stages["data consistency"]["note"].split()[0]) <= 8
    assert sum(stage["seconds"] for stage in found["cost"]["stages"]) >= 0.9 * found["cost"]["seconds"]
    for table in tables.markdown([folder / "speed.json"]):
        assert table in output
    assert (folder / "speed.png").read_bytes()[:4] == b"\x89PNG"


def test_speed_sets_each_stage_beside_its_peers_and_its_bound(measured):
    folder, _ = measured
    found = read_measured(folder / "speed.json")
    rows = [speed.SpeedRow(**row) for row in found["rows"]]
    peers = {(row.stage, row.peer) for row in rows}
    assert ("coil maps", "SigPy") in peers
    assert ("reconstruction, maps given", "SigPy L1-wavelet") in peers
    assert ("`recon`, file to folder", "SigPy's maps and L1-wavelet") in peers
    for row in rows:
        assert row.share == row.bound / row.seconds
        assert (row.ratio is None) == (row.peer is None)
        if row.peer is not None:
            assert row.ratio == row.peer_seconds / row.seconds
    parts = [row for row in rows if row.stage.startswith("…")]
    whole = next(row for row in rows if row.stage == "reconstruction, maps given")
    assert whole.bound == pytest.approx(sum(row.bound for row in parts))
    with open(folder / "speed.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["stage"], float(line["seconds"])) for line in lines] == [(r.stage, r.seconds) for r in rows]
    assert [line["peer"] or None for line in lines] == [row.peer for row in rows]


def test_scaling_has_a_point_for_each_size(tmp_path, weights):
    words = ["bench", "scaling", "--quick", "--repeats", "1", "--device", "cpu", "--weights", weights]
    words += ["--out", str(tmp_path / "scaling.json"), "--picture", str(tmp_path / "scaling.png")]
    result = CliRunner().invoke(main.app, words)
    assert result.exit_code == 0, result.output
    curves = read_measured(tmp_path / "scaling.json")["curves"]
    values = {axis: [point["value"] for point in curve["points"]] for axis, curve in curves.items()}
    assert values == {"matrix": [48, 64], "coils": [1, 2, 4], "slices": [1, 2]}
    assert tables.markdown([tmp_path / "scaling.json"])[0] in result.output
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"


def test_recon_compares_the_whole_of_both_commands(weights):
    found = recon.measure(coils=3, size=48, repeats=1, iterations=2, weights=weights)
    ours, sigpy = found["rows"]
    assert found["ratio"] == sigpy["seconds"] / ours["seconds"]
    assert ours["weights"]
    assert not sigpy["weights"]
    for row in (ours, sigpy):
        assert row["maps"] > 0
        assert row["seconds"] >= sum(row["stages"].values())
        assert row["psnr"] > 10
    assert recon.settings(48, classical=2).maps == "sigpy"


def test_every_method_has_a_row_and_bart_where_it_is_installed(tmp_path, monkeypatch, weights):
    monkeypatch.setattr(methods, "GRID", (0.002, 0.02))
    found = methods.measure(coils=3, size=48, repeats=1, accel=2.0, iterations=8, weights=weights)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["l1_wavelet"]["ratio"] == 1
    assert rows["unfold"]["lamda"] is None
    assert rows["l1_wavelet"]["lamda"] in (0.002, 0.02)
    assert ("bart" in rows) != ("bart" in found["skipped"])
    for name in {"l1_wavelet", "sense", "bart"} & set(rows):
        assert rows[name]["psnr"] > 20, name  # an image turned or scaled would be far below
    save_measured(found, tmp_path / "methods.json")
    assert tables.markdown([tmp_path / "methods.json"]) == [methods.markdown(found)]


def test_without_bart_it_is_left_out_with_the_reason(monkeypatch, weights):
    monkeypatch.setattr(methods, "GRID", (0.01,))
    monkeypatch.setattr(methods.shutil, "which", lambda name: None)
    found = methods.measure(coils=3, size=48, repeats=1, accel=2.0, iterations=1, weights=weights)
    assert found["skipped"] == {"bart": "bart is not installed"}
    assert "bart" not in [row["name"] for row in found["rows"]]


def test_compile_says_what_failed_and_what_differs(monkeypatch):
    def refuse(self):
        raise RuntimeError("no compiler\nand more")

    class Network(torch.nn.Module):
        priors = ()

        def compile(self):
            self.mean = lambda problem: refuse(self)

        def mean(self, problem):
            return torch.ones(2) * (1.5 if torch.is_autocast_enabled("cpu") else 1.0)

    monkeypatch.setattr(compiled, "load_weights", lambda name: (Network(), {}))
    monkeypatch.setattr(compiled, "head_problem", lambda coils, size: Problem(*[torch.ones(1)] * 4))
    found = compiled.measure(2, 48, 1, ("compiled network", "bfloat16 priors"))
    failed, other = found["rows"]
    assert failed["failed"] == "RuntimeError: no compiler"
    assert other["difference"] == pytest.approx(0.5)
    assert "RuntimeError: no compiler" in compiled.markdown(found)


def test_a_way_that_is_unknown_is_refused():
    result = CliRunner().invoke(main.app, ["bench", "compile", "--way", "compiled prior"])
    assert result.exit_code == 2
    assert "did you mean compiled priors" in result.output


def test_measurements_are_plain_json(measured):
    folder, _ = measured
    found = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    assert found["bench"] == "speed"
    assert found["threads"] >= 1
    assert not re.search(r"/(?:home|tmp|work)/", json.dumps(found))


def test_a_table_that_is_filled_first_stands_apart_from_the_text_below(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table: here.json -->\n\ntext\n", encoding="utf-8")
    (tmp_path / "here.json").write_text(
        json.dumps({"bench": "compile", "plain": 0.5, "rows": []}), encoding="utf-8"
    )
    for _ in range(2):
        tables.fill(page, tmp_path)
        assert page.read_text(encoding="utf-8").endswith("|\n\ntext\n")
