"""Tikhonov, isotropic TV and plug-and-play: against closed forms, dense matrices and optimality."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from mrunfold.errors import InputError
from mrunfold.methods import get_method
from mrunfold.methods.base import mean_image
from mrunfold.methods.tv_isotropic import divergence, gradient
from mrunfold.networks.prior import Prior
from mrunfold.operators import Identity
from mrunfold.operators.imaging import (
    Blur,
    CircularBlur,
    Downsample,
    Inpaint,
    box_kernel,
    gaussian_kernel,
    grey,
)
from mrunfold.problem import Problem
from mrunfold.testing import dense_matrix

DOUBLE = torch.float64


def problem(A, sigma=0.05, seed=0, batch=()):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(*batch, *A.domain.shape, dtype=A.domain.dtype, generator=generator)
    y = A(x) + sigma * torch.randn(*batch, *A.range.shape, dtype=A.domain.dtype, generator=generator)
    sigma_y = torch.full(batch, sigma, dtype=A.domain.dtype)
    return Problem(y, A, sigma_y, torch.ones_like(sigma_y), target=x)


def test_the_flat_image_is_the_nearest():
    A = Blur(gaussian_kernel(1.0, 3).double(), (3, 6, 5))
    y = A(torch.tensor([0.2, 0.5, 0.9], dtype=DOUBLE)[:, None, None].expand(3, 6, 5))
    torch.testing.assert_close(
        mean_image(A, y)[:, 0, 0], torch.tensor([0.2, 0.5, 0.9], dtype=DOUBLE), rtol=1e-3, atol=0
    )
    luma = torch.full((1, 4, 4), 0.6, dtype=DOUBLE)
    seen = grey((4, 4), DOUBLE)
    torch.testing.assert_close(seen(mean_image(seen, luma)), luma, rtol=1e-3, atol=0)
    assert not bool(mean_image(Inpaint(torch.zeros(4, 4)), torch.zeros(3, 4, 4)).any())


@pytest.mark.parametrize(
    "A", [Downsample(box_kernel(2).double(), 2, (2, 6, 4)), Blur(gaussian_kernel(0.7, 3).double(), (1, 5, 4))]
)
def test_tikhonov_is_the_dense_solution(A):
    p = problem(A)
    matrix = dense_matrix(A)
    middle = mean_image(A, p.y)
    system = matrix.mT @ matrix + 20 * 0.05**2 * torch.eye(matrix.shape[1], dtype=DOUBLE)
    step = torch.linalg.solve(system, matrix.mT @ (p.y - A(middle)).flatten())
    found = get_method("tikhonov", lamda=20.0)(p).mean
    torch.testing.assert_close(found, middle + step.reshape(A.domain.shape), rtol=1e-4, atol=1e-4)


def test_divergence_is_the_adjoint_of_the_gradient():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 4, dtype=DOUBLE, generator=generator)
    g = torch.randn(2, 3, 5, 4, dtype=DOUBLE, generator=generator)
    torch.testing.assert_close((gradient(x) * g).sum(), -(x * divergence(g)).sum())


def objective(A, y, x, lamda):
    norm = gradient(x).square().sum(dim=(0, -3)).sqrt().sum()
    return 0.5 * (A(x) - y).square().sum() + lamda * norm


@pytest.mark.parametrize(
    "A",
    [
        Identity((3, 8, 7), DOUBLE),
        CircularBlur(gaussian_kernel(1.0, 5).double(), (3, 8, 7)),
        Inpaint(torch.rand(8, 7, generator=torch.Generator().manual_seed(2)) < 0.5, 3, DOUBLE),
    ],
)
def test_total_variation_reaches_the_minimum(A):
    """No small change lowers the objective, and many more steps hardly do."""
    p = problem(A)
    x = get_method("tv_isotropic", lamda=0.02)(p).mean
    best = objective(A, p.y, get_method("tv_isotropic", lamda=0.02, max_iter=700)(p).mean, 0.02)
    value = objective(A, p.y, x, 0.02)
    assert value <= 1.01 * best
    assert value < objective(A, p.y, p.target, 0.02)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        change = 0.02 * torch.randn(x.shape, dtype=DOUBLE, generator=generator)
        assert objective(A, p.y, x + change, 0.02) > value


def test_without_weight_total_variation_is_the_data():
    p = problem(Identity((1, 6, 5), DOUBLE))
    torch.testing.assert_close(get_method("tv_isotropic", lamda=0.0)(p).mean, p.y, rtol=1e-5, atol=1e-5)


@pytest.fixture
def prior(tmp_path):
    """A prior that changes nothing: an untrained one."""
    settings = {"kind": "real", "channels": 3, "widths": [8, 12], "blocks": 1, "fold": 2}
    network = Prior(**settings)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "prior.safetensors", {"prior": json.dumps(settings)})
    return tmp_path / "prior.safetensors"


def test_plug_and_play_with_a_prior_that_does_nothing_nears_least_squares(prior):
    A = CircularBlur(gaussian_kernel(0.6, 3), (3, 8, 8))
    p = problem(A, sigma=0.01)
    result = get_method("plug_and_play", prior=str(prior), max_iter=30)(p)
    assert result.evaluations == 30
    matrix = dense_matrix(A)
    x = torch.linalg.lstsq(matrix, p.y.flatten()[:, None]).solution.reshape(3, 8, 8)
    assert (result.mean - x).norm() < 0.05 * x.norm()


def test_an_item_does_not_depend_on_its_batch(prior):
    A = Downsample(box_kernel(2), 2, (3, 16, 16))
    p = problem(A, batch=(3,))
    for name, options in (
        ("tikhonov", {}),
        ("tv_isotropic", {"max_iter": 20}),
        ("plug_and_play", {"prior": str(prior), "max_iter": 3}),
    ):
        whole = get_method(name, **options)(p).mean
        alone = get_method(name, **options)(Problem(p.y[1], A, p.sigma_y[1], p.scale[1])).mean
        torch.testing.assert_close(whole[1], alone, rtol=1e-4, atol=1e-5)


def test_bad_parameters(tmp_path, prior):
    p = problem(Identity((3, 8, 8), torch.float32))
    with pytest.raises(InputError, match="no weights"):
        get_method("plug_and_play", prior=str(tmp_path / "none.safetensors"))(p)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="does not hold a prior"):
        get_method("plug_and_play", prior=str(tmp_path / "junk.safetensors"))(p)
    for name, field, value in (
        ("tikhonov", "lamda", -1),
        ("tv_isotropic", "max_iter", 0),
        ("plug_and_play", "sigma_start", 0),
    ):
        with pytest.raises(InputError, match=field):
            get_method(name, **{field: value})
