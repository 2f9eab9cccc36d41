"""The learned method and its weights: files, seeds, batches, odd input."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mrunfold.networks.weights as weights_module
from mrunfold.errors import InputError
from mrunfold.methods import Seeds, get_method
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.weights import load_weights, save_weights, weights_digest
from mrunfold.operators import FourierMask, Sense
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import Problem, rescale
from mrunfold.protocols import NetworkSpec, PriorSpec

SPEC = NetworkSpec(blocks=2, shared=True, cg_iterations=4, prior=PriorSpec(widths=(8, 8), blocks=1))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    network = PosteriorDenoiser.from_spec(SPEC)
    torch.nn.init.normal_(network.prior(0).tail.weight, std=0.01)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, network, SPEC, {"name": "tiny"})
    return path


def make_problem(coils: int, shape: tuple[int, int], batch: int, seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 1, *shape, dtype=torch.complex64, generator=generator)
    mask = (torch.rand(batch, *shape, generator=generator) < 0.4).float()
    A: Sense | FourierMask
    if coils == 1:
        A = FourierMask(mask)
    else:
        A = Sense(torch.stack([simulated_maps(coils, shape, generator)[None]] * batch), mask)
    y, sigma_y, scale = rescale(A(x), A, torch.full((batch,), 0.02))
    return Problem(y, A, sigma_y, scale)


def item(problem: Problem, i: int) -> Problem:
    assert isinstance(problem.A, Sense)
    A = Sense(problem.A.maps[i : i + 1], problem.A.mask[i : i + 1])
    return replace(problem, y=problem.y[i : i + 1], A=A, sigma_y=problem.sigma_y[i : i + 1])


def test_mean_is_one_evaluation_and_finite_at_any_size(weights: Path) -> None:
    for coils, shape in ((1, (33, 47)), (3, (33, 47)), (4, (16, 12))):
        result = get_method("unfold", weights=str(weights))(make_problem(coils, shape, 1))
        assert result.evaluations == 1
        assert result.mean.shape == (1, 1, *shape)
        assert torch.isfinite(result.mean.abs()).all()


def test_the_record_says_that_a_level_was_raised(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"sigma_y_min": 0.01})
    path = tmp_path / "least.safetensors"
    save_weights(path, PosteriorDenoiser.from_spec(spec), spec)
    problem = make_problem(3, (24, 20), 1)
    method = get_method("unfold", weights=str(path))
    assert "sigma_y_taken_as" not in method(replace(problem, sigma_y=torch.tensor([0.02]))).record
    assert method(replace(problem, sigma_y=torch.tensor([1e-4]))).record["sigma_y_taken_as"] == 0.01


def test_an_item_does_not_depend_on_its_batch(weights: Path) -> None:
    problem = make_problem(3, (24, 20), 2)
    method = get_method("unfold", weights=str(weights), samples=3, steps=3, precision="float32")
    both = method(problem, Seeds((5, 9)))
    alone = method(item(problem, 1), Seeds((9,)))
    assert both.samples is not None
    assert alone.samples is not None
    torch.testing.assert_close(both.mean[1], alone.mean[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.samples[:, 1], alone.samples[:, 0], rtol=1e-3, atol=1e-4)
    other = method(item(problem, 1), Seeds((10,)))
    assert not torch.allclose(other.samples, alone.samples, atol=1e-3)


def test_bfloat16_is_asked_for_or_chosen_said_and_near(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(3, (24, 20), 1)
    exact, half = (
        get_method("unfold", weights=str(weights), precision=name)(problem)
        for name in ("float32", "bfloat16")
    )
    assert exact.record["precision"] == "float32"
    assert half.record["precision"] == "bfloat16"
    error = float((half.mean - exact.mean).norm() / exact.mean.norm())
    assert 0 < error < 0.02
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert torch.equal(get_method("unfold", weights=str(weights))(problem).mean, half.mean)


def test_std_is_that_of_the_samples_and_evaluations_are_counted(weights: Path) -> None:
    result = get_method("unfold", weights=str(weights), samples=4, steps=3)(make_problem(3, (16, 16), 1))
    assert result.samples is not None
    assert result.std is not None
    expected = result.samples.var(dim=0).sqrt()
    torch.testing.assert_close(result.std, expected)
    assert result.evaluations == 1 + 4 * (2 * 3 - 1)


def test_draws_around_the_mean_are_counted_and_say_how_wide_they_are(weights: Path) -> None:
    batch = make_problem(3, (32, 32), 1)
    assert isinstance(batch.A, Sense)
    mask = batch.A.mask[0].clone()
    mask[12:20, 12:20] = 1
    A = Sense(batch.A.maps[0], mask)
    given = replace(batch, y=A(A.adjoint(batch.y[0])), A=A, sigma_y=batch.sigma_y[0])
    plain, result = (
        get_method("unfold", weights=str(weights), samples=5, splits=splits)(given) for splits in (0, 2)
    )
    assert result.samples is not None
    assert plain.samples is not None
    assert result.samples.shape == (5, 1, 32, 32)
    assert plain.evaluations == 1 + 2 * (3 + 1)  # the mean, two levels of three pairs, and of the mean
    assert result.evaluations == plain.evaluations + 2 * (1 + 2 * (2 + 1))
    said = result.record["draws"]
    assert said["kind"] == "around the mean"
    torch.testing.assert_close(
        result.samples - result.mean, said["widened"] * (plain.samples - plain.mean), rtol=2e-3, atol=1e-6
    )
    torch.testing.assert_close(result.samples[:2].mean(dim=0), result.mean)
    assert "draws" not in get_method("unfold", weights=str(weights), samples=2, steps=2)(given).record


def test_all_zero_slice_and_loud_noise_stay_finite(weights: Path) -> None:
    problem = make_problem(3, (16, 16), 1)
    silent = replace(problem, y=torch.zeros_like(problem.y))
    loud = replace(problem, sigma_y=torch.full((1,), 0.3))
    for case in (silent, loud):
        assert torch.isfinite(get_method("unfold", weights=str(weights))(case).mean.abs()).all()


def test_weights_come_back_as_they_were_saved(weights: Path) -> None:
    network, metadata = load_weights(weights)
    assert metadata["sha256"] == weights_digest(weights)
    assert metadata["name"] == "tiny"
    torch.manual_seed(3)
    original = PosteriorDenoiser.from_spec(SPEC)
    torch.testing.assert_close(
        network.prior(0).head.weight, original.prior(0).head.weight, rtol=1e-3, atol=1e-4
    )


def test_a_file_that_holds_no_network_is_refused(tmp_path: Path, weights: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(InputError, match="does not hold"):
        load_weights(broken)
    with pytest.raises(InputError, match="no weights"):
        load_weights(tmp_path / "absent.safetensors")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = PosteriorDenoiser.from_spec(SPEC)
    with torch.no_grad():
        network.prior(0).head.weight[0, 0, 0, 0] = torch.nan
    path = tmp_path / "nan.safetensors"
    save_weights(path, network, SPEC)
    with pytest.raises(InputError, match="not finite"):
        load_weights(path)


def test_a_shipped_file_that_changed_is_refused(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "FOLDER", tmp_path)
    digests = {"tiny.safetensors": weights_digest(weights)}
    (tmp_path / "sha256.json").write_text(json.dumps(digests))
    weights_module._load.cache_clear()
    assert load_weights("tiny")[1]["name"] == "tiny"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    weights_module._load.cache_clear()
    with pytest.raises(InputError, match="sha256 differs"):
        load_weights("tiny")
    weights_module._load.cache_clear()


@pytest.mark.parametrize(
    "bad",
    [
        {"samples": 1},
        {"samples": -1},
        {"steps": 1},
        {"sigma_min": 0.5},
        {"sigma_start": 0.0},
        {"precision": "half"},
    ],
)
def test_senseless_parameters_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        get_method("unfold", **bad)


@pytest.mark.parametrize("coils", [1, 4])
def test_the_mean_of_one_evaluation_comes_with_sense_of_the_same_steps(weights: Path, coils: int) -> None:
    problem = make_problem(coils, (32, 28), 2)
    unfold = get_method("unfold", weights=str(weights), passes=1)
    mean, sense = unfold.beside_sense(problem)
    torch.testing.assert_close(mean, unfold(problem).mean, rtol=0, atol=1e-5)
    # Each item has stopped by then, or its first solve took all the steps there are.
    network = load_weights(str(weights))[0]
    steps = {int(n) for n in first_steps(network, problem)}
    options = [get_method("sense", tolerance=0.0, max_iter=max(n, 1))(problem).mean for n in sorted(steps)]
    for i in range(2):
        assert min(float((one[i] - sense[i]).abs().max()) for one in options) < 1e-4


def first_steps(network: PosteriorDenoiser, problem: Problem) -> torch.Tensor:
    """Return how many steps the first solve takes, of each item."""
    given, rho, sigma_y = network._begun(None, torch.tensor(torch.inf), problem.y, problem.A, problem.sigma_y)
    return given.solve(sigma_y, rho, None, None, network.start_iterations).iterations


def test_weights_are_loaded_without_pytorchs_compiler() -> None:
    """Importing it takes longer than the reconstruction of a slice."""
    code = (
        "import sys; from mrunfold.networks.weights import load_weights; load_weights(None); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_the_levels_of_an_untrained_network_are_as_documented() -> None:
    base = PosteriorDenoiser.from_spec(SPEC.model_copy(update={"blocks": 5})).levels.base
    steps = torch.linspace(0, 1, 5)
    levels = torch.cat([0.2 * (0.02 / 0.2) ** steps, 0.12 * (0.03 / 0.12) ** steps])
    expected = torch.logit((levels / 0.003).log() / math.log(1 / 0.003))
    torch.testing.assert_close(base, torch.cat([expected, torch.full((5,), -4.0), torch.full((5,), -0.4)]))
