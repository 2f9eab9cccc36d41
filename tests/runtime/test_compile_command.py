"""`mrunfold compile` and `mrunfold bench runtime`: their options, and what they say."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner
from untrained import SPEC, random_network

from mrunfold.benchmarks.speed import runtime
from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.networks.weights import load_weights, save_weights
from mrunfold.runtime.export import example, mean_in_python
from mrunfold.runtime.graph import no_deprecation


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, random_network(), SPEC)
    return path


def run(*arguments: object):
    result = CliRunner().invoke(main.app, [str(a) for a in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


@torch.no_grad()
def test_the_file_of_the_command_is_the_network_of_the_weights(weights, tmp_path):
    out = tmp_path / "model.pt"
    result = run("compile", "--weights", weights, "--shape", "4x24x20", "--out", out)
    assert result.exit_code == 0, result.output
    assert "random.safetensors, sha256 " in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]
    inputs = example((2, 1, 3, 20, 22))
    with no_deprecation():
        image = torch.jit.load(str(out))(*inputs)[0]
    expected = mean_in_python(load_weights(weights)[0], inputs)
    assert float((image - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("shape", ["15x320", "0x32x32", "4x4x32", "4x-8x32", "axbxc", "4x32x320000"])
def test_a_shape_that_does_not_hold_is_refused(weights, tmp_path, shape):
    assert run("compile", "--weights", weights, "--shape", shape, "--out", tmp_path / "m.pt").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_bad_places_and_weights_are_refused(weights, tmp_path):
    for words in (("--weights", "nowhere"), ("--weights", weights, "--out", tmp_path / "no" / "model.pt")):
        result = run("compile", *words)
        assert result.exit_code == 2
        assert result.output.startswith("error: ")


def test_bench_runtime_prints_the_ratio(monkeypatch):
    seen = []

    def stub(*arguments):
        seen.append(arguments[:6])
        return runtime.Runtimes(0.5, 0.75, 1.5, 2e-6)

    monkeypatch.setattr(runtime, "measure", stub)
    result = run("bench", "runtime", "--coils", 2, "--size", 32, "--repeats", 1, "--rounds", 1)
    assert result.exit_code == 0, result.output
    assert seen == [(2, 32, 1, 1, None, None)]
    assert "Python / C++: 1.50" in result.output
