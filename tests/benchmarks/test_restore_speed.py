"""The speed of one image: what is timed, kept, said and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mrunfold.benchmarks.photographs import run as restore_run
from mrunfold.benchmarks.photographs.rows import RestoreRow, RestoreSpeed, load, load_speed, save
from mrunfold.benchmarks.photographs.run import Comparison, compare
from mrunfold.benchmarks.photographs.speed import colour_image, tuned_options
from mrunfold.benchmarks.photographs.table import markdown
from mrunfold.cli.main import run
from mrunfold.errors import InputError
from mrunfold.io.images import write_photo
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.prior import Prior
from mrunfold.networks.weights import save_weights
from mrunfold.protocols import NetworkSpec, PriorSpec

PRIOR = {"kind": "real", "channels": 3, "widths": [4, 6], "blocks": 1, "fold": 2}
SPEED = RestoreSpeed(256, 2, ("gaussian", "x4"), 0.5, 2.0, 16.0, "weights")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Set")
    rng = np.random.default_rng(0)
    write_photo(folder / "a-grey.png", rng.random((1, 300, 300)))
    write_photo(folder / "b-small.png", rng.random((3, 255, 300)))
    write_photo(folder / "c.png", np.kron(rng.random((3, 30, 33)), np.ones((9, 8))))
    spec = NetworkSpec(blocks=1, shared=True, prior=PriorSpec(**PRIOR))
    save_weights(folder / "tiny.safetensors", PosteriorDenoiser.from_spec(spec), spec)
    state = {name: value.contiguous() for name, value in Prior(**PRIOR).state_dict().items()}
    save_file(state, folder / "prior.safetensors", {"prior": json.dumps(PRIOR)})
    return folder


def test_the_image_is_the_first_that_is_large_and_has_colour(folder):
    files = sorted(folder.glob("*.png"))
    photo = colour_image(files)
    assert photo.pixels.shape == (3, 256, 256)
    assert photo.pixels[0, 0, 0] != photo.pixels[1, 0, 0]
    with pytest.raises(InputError, match="256×256"):
        colour_image(files[:2])


def test_the_options_are_those_of_the_rows():
    def row(task, method, options, data="Set"):
        return RestoreRow(data, "a", task, 0.02, method, options, 30.0, 0.9, None, 1, 1.0)

    rows = [
        row("x4", "plug_and_play", {"max_iter": 8}), row("disc", "plug_and_play", {"max_iter": 9}),
        row("motion", "tikhonov", {"lamda": 1}), row("motion", "plug_and_play", {"max_iter": 7}, "Other"),
    ]  # fmt: skip
    assert tuned_options(rows, "Set") == {"x4": {"max_iter": 8}}
    with pytest.raises(InputError, match="give --prior"):
        tuned_options(rows[2:3], "Set")


def test_the_line_says_seconds_and_ratio():
    assert SPEED.line.startswith("256×256 colour image, mean: unfold 0.50 s on 2 cores, plug_and_play 2.00 s")
    assert "(16 evaluations), 4.0× as long; means of 2 tasks" in SPEED.line
    row = RestoreRow("Set", "a", "x4", 0.02, "unfold", {}, 30.0, 0.9, None, 1, 1.0)
    assert markdown([row], SPEED) == markdown([row]) + f"\n{SPEED.line}.\n"


def test_it_is_kept_with_the_rows(tmp_path):
    save([], tmp_path / "rows.json", SPEED)
    assert load_speed(tmp_path / "rows.json") == SPEED
    save([], tmp_path / "rows.json")
    assert load_speed(tmp_path / "rows.json") is None
    (tmp_path / "rows.json").write_text('{"rows": [], "speed": {"tasks": []}}')
    with pytest.raises(InputError, match="not a table"):
        load_speed(tmp_path / "rows.json")


def test_a_comparison_times_once_for_the_same_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(
        "mrunfold.benchmarks.photographs.restore.GRIDS",
        {"tikhonov": ({"lamda": 16.0},), "plug_and_play": ({"max_iter": 2, "sigma_start": 0.2},)},
    )
    monkeypatch.setattr("mrunfold.benchmarks.photographs.restore.installed", lambda: True)
    out, said = tmp_path / "rows.json", []
    wanted = Comparison(
        ("denoise",), crop=64, weights=str(folder / "tiny.safetensors"),
        prior=str(folder / "prior.safetensors"), speed=True,
    )  # fmt: skip
    threads = torch.get_num_threads()
    compare([folder], out, wanted, said.append)
    assert torch.get_num_threads() == threads
    speed = load_speed(out)
    assert speed is not None
    assert (speed.side, speed.threads, speed.tasks, speed.evaluations) == (256, 2, ("denoise",), 2.0)
    assert speed.unfold > 0 < speed.plug_and_play
    assert speed.line in said[-1]
    rows = load(out)
    assert {row.method for row in rows} == {"tikhonov", "plug_and_play", "unfold"}
    assert {row.size for row in rows} == {"64x64"}

    def no_more(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr("mrunfold.benchmarks.photographs.run.measure_speed", no_more)
    written: list[int] = []
    save = restore_run.save
    monkeypatch.setattr(
        restore_run, "save", lambda rows, *rest: (written.append(len(rows)), save(rows, *rest))
    )
    compare([folder], out, wanted, said.append)
    assert (load(out), load_speed(out)) == (rows, speed)
    assert written == [len(rows)]  # rows that were there are not written again one by one


def test_a_speed_of_nothing_or_on_too_few_cores_is_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--prior"):
        compare([folder], tmp_path / "rows.json", Comparison(speed=True), print)
    assert not (tmp_path / "rows.json").exists()
    from mrunfold.benchmarks.photographs.speed import _threads

    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    with pytest.raises(InputError, match="on 2 cores, here are 1"), _threads(2):
        pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore", ".", "--speed", "--only-ours"), "leave --only-ours out"),
        (("restore", ".", "--task", "moton"), "motion"),
        (("restore-pictures", "c.png"), "4 images are drawn"),
    ],
)
def test_bad_commands_get_one_line(folder, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["mrunfold", "bench", *arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        run()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
