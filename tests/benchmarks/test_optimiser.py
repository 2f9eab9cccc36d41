"""`bench optimiser`: every arm from the same weights over the same batches, measured on others."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

import tiny

from mrunfold.benchmarks.quality.optimiser import Arm, markdown, measure
from mrunfold.cli import main
from mrunfold.networks.weights import save_weights
from mrunfold.training.run import untrained


@pytest.fixture
def start(tmp_path):
    """Images, and a network whose priors have learned nothing."""
    tiny.write_files(tmp_path / "data")
    module = untrained("unfold", tiny.protocol(), tiny.bank())
    file = tmp_path / "start.safetensors"
    save_weights(file, module.network, tiny.protocol().network)
    return tmp_path / "data", file


def test_arms_differ_by_their_optimiser_alone(start):
    arms = (Arm("adam", 2e-3), Arm("adam", 2e-3), Arm("muon", 2e-3), Arm("adam", 1e-12), Arm("adam", 0.5))
    said = []
    found = measure(tiny.protocol(), *start, arms, steps=12, unseen=3, report=said.append)
    first, again, other, still, wrecked = (row["gain"] for row in found["rows"])
    assert first == pytest.approx(again, abs=1e-5)
    assert abs(first - other) > 1e-3
    # A rate of nearly nothing gains nearly nothing: the gain is against the weights that all start from.
    assert abs(still) < 1e-4
    assert wrecked < -1
    assert len(said) == 5
    assert markdown(found).count("| adam |") == 4


def test_an_arm_that_is_none_is_refused(tmp_path):
    command = ["bench", "optimiser", "--data", str(tmp_path), "--init", "x", "--arm", "sgd:0.1"]
    result = CliRunner().invoke(main.app, command)
    assert "as muon:3e-4, got 'sgd:0.1'" in f"{result.output}{result.exception}"
