"""What holds for every classical method: quality, batch invariance, determinism, odd sizes, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sigpy.mri.app import L1WaveletRecon, TotalVariationRecon

from mrunfold.methods import get_method
from mrunfold.metrics import psnr
from mrunfold.operators import FourierMask, Identity, Sense
from mrunfold.problem import Problem

ITERATIVE = ("sense", "l1_wavelet", "tv")
SIGPY = ("l1_wavelet", "tv")
ALL = ("zero_filled", *ITERATIVE)
Simulate = Callable[..., Problem]


def decibel(problem: Problem, mean: torch.Tensor) -> float:
    assert problem.target is not None
    target = problem.target.abs().numpy()
    return psnr(target, mean.abs().numpy(), data_range=float(target.max()))


def stacked(problems: list[Problem]) -> Problem:
    """Return one batched problem: maps and mask of each item differ."""
    A = Sense(torch.stack([p.A.maps for p in problems]), torch.stack([p.A.mask for p in problems]))
    return Problem(
        torch.stack([p.y for p in problems]), A,
        torch.stack([p.sigma_y for p in problems]), torch.stack([p.scale for p in problems]),
    )  # fmt: skip


@pytest.mark.parametrize("name", ITERATIVE)
def test_beats_zero_filling(name: str, simulate: Simulate) -> None:
    problem = simulate()
    zero_filled = get_method("zero_filled")(problem).mean
    assert decibel(problem, get_method(name)(problem).mean) > decibel(problem, zero_filled) + 1


@pytest.mark.parametrize("name", SIGPY)
def test_beats_zero_filling_with_a_single_coil(name: str, simulate: Simulate) -> None:
    problem = simulate(coils=1, fraction=0.6)
    zero_filled = get_method("zero_filled")(problem).mean
    assert decibel(problem, get_method(name)(problem).mean) > decibel(problem, zero_filled) + 1


@pytest.mark.parametrize("name", ALL)
def test_item_does_not_depend_on_its_batch(name: str, simulate: Simulate) -> None:
    problems = [simulate((32, 28)), simulate((32, 28), fraction=0.6, sigma=0.05, seed=1)]
    method = get_method(name)
    together = method(stacked(problems))
    assert together.mean.shape == (2, 1, 32, 28)
    for item, problem in zip(together.mean, problems, strict=True):
        torch.testing.assert_close(item, method(problem).mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_two_batch_axes_and_shared_maps(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    y = torch.stack([problem.y, 0.5 * problem.y])[:, None]
    mean = get_method(name)(replace(problem, y=y, sigma_y=problem.sigma_y.expand(2, 1))).mean
    assert mean.shape == (2, 1, 1, 32, 28)
    torch.testing.assert_close(mean[0, 0], get_method(name)(problem).mean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_is_deterministic_and_leaves_global_random_state(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    np.random.seed(7)  # noqa: NPY002 (it is the global state that is watched)
    state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    first = get_method(name)(problem).mean
    np.random.seed(8)  # noqa: NPY002
    second = get_method(name)(problem).mean
    assert torch.equal(first, second)
    np.random.seed(7)  # noqa: NPY002
    get_method(name)(problem)
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))  # noqa: NPY002
    assert torch.equal(torch_state, torch.get_rng_state())


@pytest.mark.parametrize("name", ALL)
def test_nothing_measured_gives_zero(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    mean = get_method(name)(replace(problem, y=torch.zeros_like(problem.y))).mean
    assert torch.equal(mean, torch.zeros_like(mean))


@pytest.mark.parametrize("name", ALL)
def test_maps_of_zero_give_zero(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    A = Sense(torch.zeros_like(problem.A.maps), problem.A.mask)
    mean = get_method(name)(replace(problem, A=A)).mean
    assert torch.equal(mean, torch.zeros_like(mean))


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("shape", [(33, 27), (32, 27), (33, 28)])
@pytest.mark.parametrize("name", ITERATIVE)
def test_full_noiseless_data_give_the_image_at_odd_sizes(
    name: str, shape: tuple[int, int], coils: int, simulate: Simulate
) -> None:
    problem = simulate(shape, coils=coils)
    ones = torch.ones(shape)
    A = FourierMask(ones) if coils == 1 else Sense(problem.A.maps, ones)
    exact = replace(problem, A=A, y=A(problem.target), sigma_y=torch.tensor(0.0))
    mean = get_method(name, lamda=0.0, max_iter=200)(exact).mean
    torch.testing.assert_close(mean, problem.target, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ITERATIVE)
def test_mask_of_weights_is_the_operator_s(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    weights = torch.linspace(0.5, 1, 32)[:, None].expand(32, 28)
    A = Sense(problem.A.maps, weights)
    exact = replace(problem, A=A, y=A(problem.target), sigma_y=torch.tensor(0.0))
    mean = get_method(name, lamda=0.0, max_iter=300)(exact).mean
    torch.testing.assert_close(mean, problem.target, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", SIGPY)
def test_unsampled_lines_along_the_readout_may_be_given_as_one_row(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    row = (torch.arange(28) % 2 == 0).float()[None, :]
    narrow, wide = Sense(problem.A.maps, row), Sense(problem.A.maps, row.expand(32, 28))
    y = narrow(problem.target)
    method = get_method(name, max_iter=5)
    assert torch.equal(
        method(replace(problem, A=narrow, y=y)).mean, method(replace(problem, A=wide, y=y)).mean
    )


@pytest.mark.parametrize("name", ALL)
def test_progress_rises_to_one(name: str, simulate: Simulate) -> None:
    seen: list[float] = []
    get_method(name)(stacked([simulate((32, 28)), simulate((32, 28), seed=1)]), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert all(0 <= s <= 1 for s in seen)
    assert len(seen) > 5 or name == "zero_filled"


@pytest.mark.parametrize("name", ALL)
def test_record_can_be_written_as_json(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    result = get_method(name)(problem)
    record = json.loads(json.dumps(result.record))
    assert record["method"] == name
    assert result.mean.dtype == torch.complex64
    assert (result.std, result.samples, result.evaluations) == (None, None, 0)
    if name != "zero_filled":
        assert len(record["iterations"]) == 1
        assert record["parameters"]["lamda"] == get_method(name).lamda


@pytest.mark.parametrize("name", SIGPY)
def test_recorded_residual_is_that_of_the_image(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    result = get_method(name)(problem)
    expected = float((problem.y - problem.A(result.mean)).norm() / problem.y.norm())
    assert result.record["data_residual"] == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize("name", SIGPY)
def test_one_set_of_maps_is_what_sigpys_own_app_gives(name: str, simulate: Simulate) -> None:
    problem = simulate((32, 28))
    y, maps, mask = problem.y.numpy(), problem.A.maps[0].numpy(), problem.A.mask.numpy()
    bound = float((np.abs(maps) ** 2).sum(axis=0).max())
    if name == "tv":
        steps = {"sigma": 0.1, "tau": 1 / (0.1 * (bound + 8)), "max_iter": 30}
        app = TotalVariationRecon(y, maps, 0.005, weights=mask**2, show_pbar=False, **steps)
    else:
        steps = {"alpha": 1 / bound, "max_iter": 30}
        app = L1WaveletRecon(y, maps, 0.005, weights=mask**2, show_pbar=False, **steps)
    mean = get_method(name, lamda=0.005, max_iter=30)(problem).mean
    np.testing.assert_allclose(mean[0].numpy(), app.run(), atol=1e-5)


@pytest.mark.parametrize("name", SIGPY)
def test_two_sets_of_maps_explain_what_one_cannot(name: str, simulate: Simulate) -> None:
    """The same image under other sensitivities beside the first: with one set alone it is an error."""
    problem = simulate((32, 28))
    x = torch.cat([problem.target, 0.5 * problem.target.flip(-1)])
    other = problem.A.maps.flip(-3) * torch.tensor([1, -1]).repeat(4)[: problem.A.maps.shape[-3], None, None]
    overlap = (problem.A.maps.conj() * other).sum(dim=-3, keepdim=True)
    other = other - overlap * problem.A.maps
    other = other / torch.linalg.vector_norm(other, dim=-3, keepdim=True)
    A = Sense(torch.cat([problem.A.maps, other]), problem.A.mask)
    both = replace(problem, A=A, y=A(x), target=x)
    mean = get_method(name, lamda=0.001)(both).mean
    assert mean.shape == (2, 32, 28)
    one = get_method(name, lamda=0.001)(replace(both, A=problem.A)).mean
    assert (mean - x)[0].norm() < 0.5 * (one - x[:1]).norm()


def test_operators_that_are_not_cartesian(simulate: Simulate) -> None:
    image = simulate((32, 28)).target
    assert image is not None
    problem = Problem(image, Identity((1, 32, 28)), torch.tensor(0.0), torch.tensor(1.0))
    for name in SIGPY:
        mean = get_method(name, lamda=1e-6)(problem).mean
        torch.testing.assert_close(mean, image, atol=1e-4, rtol=0)
    for method in (get_method("zero_filled"), get_method("sense", lamda=50.0)):
        torch.testing.assert_close(method(problem).mean, image)


def test_double_precision_is_kept(simulate: Simulate) -> None:
    problem = simulate((32, 28))
    A = problem.A.to(dtype=torch.complex128)
    for name in ALL:
        mean = get_method(name)(replace(problem, A=A, y=problem.y.to(torch.complex128))).mean
        assert mean.dtype == torch.complex128


def test_sigpy_and_we_have_the_same_operator_at_odd_sizes(simulate: Simulate) -> None:
    import sigpy.mri

    for shape in ((33, 27), (32, 28), (31, 28)):
        problem = simulate(shape)
        maps, mask = problem.A.maps[0].numpy(), problem.A.mask.numpy()
        theirs = sigpy.mri.linop.Sense(maps, weights=mask)
        x = problem.target
        np.testing.assert_allclose(problem.A(x).numpy(), theirs(x[0].numpy()), atol=1e-6)
        np.testing.assert_allclose(
            problem.A.adjoint(problem.y)[0].numpy(), theirs.H(problem.y.numpy()), atol=1e-6
        )
