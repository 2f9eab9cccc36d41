"""Training of the head that predicts standard deviations: examples, the loss, stopping and going on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.metrics import crps_normal
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.sd_head import Evidence
from mrunfold.networks.weights import load_sd_head, save_sd_head, save_weights, sd_head_file
from mrunfold.protocols import SdSpec
from mrunfold.training import sd
from mrunfold.training.sd import ExampleBank, Examples, drawn, examples_of, fit, sd_loss, train_sd

SPEC = SdSpec(widths=(4, 6), examples=3, steps=6, batch=4, crop=32)


@pytest.fixture
def weights(tmp_path):
    protocol = tiny.protocol()
    torch.manual_seed(3)
    network = PosteriorDenoiser.from_spec(protocol.network)
    path = tmp_path / "net.safetensors"
    save_weights(path, network, protocol.network, {})
    tiny.write_files(tmp_path / "data")
    return path


def test_examples_are_of_the_mean_as_in_use_and_of_its_error(weights):
    from mrunfold.networks.weights import load_weights

    network, _ = load_weights(weights)
    problem = drawn(tiny.protocol(), tiny.bank(), 1)
    again = drawn(tiny.protocol(), tiny.bank(), 1)
    assert torch.equal(problem.y, again.y)
    assert not torch.equal(problem.y, drawn(tiny.protocol(), tiny.bank(), 2).y)
    found = examples_of(network, problem)
    mean = network.mean_of(problem.y, problem.A, problem.sigma_y)
    torch.testing.assert_close(found.given.images[:, 0], mean[:, 0].abs(), rtol=0.05, atol=0.02)
    expected = problem.x[:, 0].abs() - mean[:, 0].abs()
    torch.testing.assert_close(found.error, expected, rtol=0.05, atol=0.02)


def test_the_loss_is_least_at_the_standard_deviation():
    generator = torch.Generator().manual_seed(0)
    error = 0.05 * torch.randn(1, 200, 200, generator=generator)
    images = torch.ones(1, 8, 200, 200)
    found = Examples(Evidence(images, torch.ones(1), torch.zeros(1, 6)), error)
    true = float(error.square().mean().sqrt())
    losses = {
        f: float(sd_loss(torch.full_like(error, f * true), found, 0.1)) for f in (0.8, 0.95, 1, 1.05, 1.25)
    }
    assert min(losses, key=losses.__getitem__) == 1
    assert losses[1] == pytest.approx(
        float(np.mean(crps_normal(error.numpy(), 0 * error.numpy(), np.full(error.shape, true))))
        / float(error.abs().mean()),
        rel=1e-4,
    )


def test_air_counts_less_and_each_item_as_much():
    generator = torch.Generator().manual_seed(0)
    error = torch.randn(2, 16, 16, generator=generator) * torch.tensor([0.5, 0.005])[:, None, None]
    images = torch.ones(2, 8, 16, 16)
    images[:, 0, :, 8:] = 1e-3
    found = Examples(Evidence(images, torch.ones(2), torch.zeros(2, 6)), error)
    sd = error.abs().mean(dim=(1, 2), keepdim=True).expand_as(error)
    both = [
        float(
            sd_loss(
                sd[n : n + 1],
                Examples(Evidence(images[n : n + 1], torch.ones(1), torch.zeros(1, 6)), error[n : n + 1]),
                0.1,
            )
        )
        for n in range(2)
    ]
    assert float(sd_loss(sd, found, 0.1)) == pytest.approx(sum(both) / 2, rel=1e-5)
    no_air = Examples(Evidence(images[..., :8], torch.ones(2), torch.zeros(2, 6)), error[..., :8])
    assert float(sd_loss(sd, found, 0.0)) == pytest.approx(float(sd_loss(sd[..., :8], no_air, 0.1)), rel=1e-5)


def test_a_run_that_was_stopped_ends_with_the_same_head(weights, tmp_path, monkeypatch):
    protocol, data = tiny.protocol(), tmp_path / "data"
    monkeypatch.setattr(sd, "LOOK", 2)
    whole = train_sd(protocol, data, tmp_path / "whole", weights, SPEC)
    assert whole.name == "net-sd.safetensors"

    class Stop(Exception):
        pass

    def stop(what, done, total):
        if (what, done) in {("examples", 2), ("head", 3)} - stopped:
            stopped.add((what, done))
            raise Stop

    stopped: set = set()
    for _ in range(2):
        with pytest.raises(Stop):
            train_sd(protocol, data, tmp_path / "parts", weights, SPEC, stop)
    parts = train_sd(protocol, data, tmp_path / "parts", weights, SPEC, stop)
    assert len(stopped) == 2
    same = load_file(parts), load_file(whole)
    assert same[0].keys() == same[1].keys()
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])


def test_training_gains(weights, tmp_path):
    spec = SPEC.model_copy(update={"steps": 60, "learning_rate": 5e-3})
    losses = {}
    for steps in (1, 60):
        file = train_sd(tiny.protocol(), tmp_path / "data", tmp_path / f"{steps}", weights,
                        spec.model_copy(update={"steps": steps}))  # fmt: skip
        bank = ExampleBank(sorted((tmp_path / f"{steps}" / "sd" / "examples").iterdir()))
        found = bank.draw(12, 64, torch.Generator().manual_seed(0))
        head = fit(
            spec.model_copy(update={"steps": steps}), bank, 3, tmp_path / f"{steps}" / "sd" / "last.pt"
        )
        losses[steps] = float(sd_loss(head(found.given), found, 0.1))
        assert file.is_file()
    assert losses[60] < losses[1] - 0.02
    assert math.isfinite(losses[60])


def test_a_head_lies_beside_its_weights_and_is_of_no_others(weights, tmp_path):
    assert load_sd_head(weights)[0] is None
    assert "no head of its own" in load_sd_head(weights)[1]["why"]
    made = train_sd(tiny.protocol(), tmp_path / "data", tmp_path / "run", weights, SPEC)
    other = tmp_path / "run" / "net.safetensors"
    other.write_bytes(weights.read_bytes())
    head, about = load_sd_head(other)
    assert head is not None
    assert about["file"] == made.name
    assert about["protocol"] == "tiny"
    third = tmp_path / "third.safetensors"
    save_weights(third, PosteriorDenoiser.from_spec(tiny.protocol().network), tiny.protocol().network, {})
    sd_head_file(third).write_bytes(made.read_bytes())
    head, about = load_sd_head(third)
    assert head is None
    assert "of other weights" in about["why"]


def test_a_file_that_is_no_head_is_refused(weights):
    sd_head_file(weights).write_bytes(weights.read_bytes())
    with pytest.raises(InputError, match="does not hold a network of this version"):
        load_sd_head(weights)


def test_a_head_of_another_version_is_refused(weights, tmp_path, monkeypatch):
    made = train_sd(tiny.protocol(), tmp_path / "data", tmp_path / "run", weights, SPEC)
    head, about = load_sd_head(_beside(made, weights))
    from mrunfold.networks import weights as module

    monkeypatch.setattr(module, "SD_VERSION", "2")
    another = tmp_path / "run" / "b.safetensors"
    another.write_bytes(weights.read_bytes())
    save_sd_head(sd_head_file(another), head, SPEC, {"of": about["of"]})
    monkeypatch.setattr(module, "SD_VERSION", "1")
    with pytest.raises(InputError, match="version 2 of its format"):
        load_sd_head(another)


def _beside(made, weights):
    file = made.with_name(weights.name)
    file.write_bytes(weights.read_bytes())
    return file


def test_another_network_in_the_same_folder_is_refused(weights, tmp_path):
    out = tmp_path / "run"
    train_sd(tiny.protocol(), tmp_path / "data", out, weights, SPEC)
    with pytest.raises(InputError, match="of other weights or settings"):
        train_sd(tiny.protocol(), tmp_path / "data", out, weights, SPEC.model_copy(update={"steps": 9}))


def test_photographs_have_no_head(tmp_path):
    from mrunfold.protocols import load_protocol

    with pytest.raises(InputError, match="take a protocol of MRI"):
        train_sd(load_protocol("natural-compact"), tmp_path, tmp_path / "out", "natural-compact")


def test_the_command_writes_the_head_and_says_where(weights, tmp_path):
    file = tiny.write_protocol(tmp_path / "tiny.toml")
    file.write_text(
        file.read_text() + "[sd]\nwidths = [4, 6]\nexamples = 2\nsteps = 4\nbatch = 2\ncrop = 32\n"
    )
    words = ["train", str(file), "--stage", "sd", "--data", str(tmp_path / "data"), "--init", str(weights)]
    result = CliRunner().invoke(main.app, [*words, "--out", str(tmp_path / "out"), "--steps", "3"])
    assert result.exit_code == 0, result.output
    assert "net-sd.safetensors" in result.output
    assert (tmp_path / "out" / "net-sd.safetensors").is_file()
