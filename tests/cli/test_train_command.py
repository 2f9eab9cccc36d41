"""`mrunfold train`: its options reach the run, and what it says when it stops."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from mrunfold.cli.train import train
from mrunfold.errors import InputError
from mrunfold.training import run

app = typer.Typer()
app.command()(train)


@pytest.fixture
def seen(monkeypatch):
    calls = []

    def stub(protocol, data, out, stages, settings, init):
        calls.append((protocol, data, out, stages, settings, init))
        return run.TrainingState(stages[-1], 7, stub.finished, (out / "unfold.safetensors",))

    stub.finished = True
    monkeypatch.setattr(run, "train", stub)
    calls_and_stub = (calls, stub)
    return calls_and_stub


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


def test_defaults(seen):
    result = call()
    assert result.exit_code == 0, result.output
    protocol, data, out, stages, settings, init = seen[0][0]
    assert (protocol.name, str(data), out.as_posix()) == ("mri-compact", "data", "runs/mri-compact")
    assert (stages, init) == (("prior", "unfold"), None)
    assert (settings.devices, settings.strategy, settings.num_nodes) == ("auto", "auto", 1)
    assert "written: runs/mri-compact/unfold.safetensors" in result.output


def test_options_reach_the_run(seen, tmp_path):
    call(
        "mri-paper", "--data", tmp_path, "--out", tmp_path / "o", "--stage", "unfold", "--steps", 9,
        "--init", tmp_path / "p.safetensors", "--devices", 2, "--num-nodes", 3, "--strategy", "ddp",
        "--accelerator", "cpu", "--workers", 4, "--checkpoint-every", 5, "--precision", "32-true",
    )  # fmt: skip
    protocol, data, out, stages, settings, init = seen[0][0]
    assert (protocol.unfold_stage.steps, protocol.prior_stage.steps) == (9, 100000)
    assert (data, out, stages, init) == (tmp_path, tmp_path / "o", ("unfold",), tmp_path / "p.safetensors")
    assert (settings.devices, settings.num_nodes, settings.strategy) == (2, 3, "ddp")
    assert (settings.accelerator, settings.workers, settings.checkpoint_every) == ("cpu", 4, 5)
    assert settings.precision == "32-true"


def test_a_stopped_run_says_how_to_go_on(seen):
    seen[1].finished = False
    result = call("--stage", "unfold")
    assert result.exit_code == 130
    assert "stopped at step 7 of stage unfold; the same command goes on from there" in result.output


def test_wrong_names_are_refused(seen):
    with pytest.raises(InputError, match="prior, unfold, all or sd"):
        call("--stage", "both")
    with pytest.raises(InputError, match="did you mean mri-compact"):
        call("mri-compat")
