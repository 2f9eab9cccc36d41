"""The noise that a full scan would have had too: part of x₀, and no error of y."""

from __future__ import annotations

import math

import pytest
import torch
from unrolled import dense, gaussian_network, network, noise, sense, tensor

from mrunfold.networks.posterior import SIGMA_OF_MEAN
from mrunfold.operators import FourierMask, Sense


@pytest.mark.parametrize("sigma_t", [0.3, math.inf])
def test_noise_that_the_full_scan_has_too_is_no_error(sigma_t):
    """x₀ ~ N(μ, s² I), y = A x₀ + n with n ~ CN(0, σ²(I − AAᴴ)): the posterior mean by dense matrices."""
    A, spread, sigma = sense(shape=(6, 5), keep=0.4), 0.4, 0.2
    mu, n = noise(A.domain.shape), math.prod(A.domain.shape)
    matrix = dense(A)
    identity = torch.eye(n, dtype=mu.dtype)
    extra = sigma**2 * (torch.eye(len(matrix), dtype=mu.dtype) - matrix @ matrix.mH)
    precision = spread**-2 + sigma_t**-2
    state = noise(A.domain.shape, seed=3)
    before = (mu / spread**2 + (state / sigma_t**2 if math.isfinite(sigma_t) else 0)).flatten() / precision
    sampled = A.mask.expand(3, 6, 5).flatten() > 0  # y holds nothing elsewhere
    matrix, extra = matrix[sampled], extra[sampled][:, sampled]
    y = A(noise(A.domain.shape, seed=1)) + 0.1 * A(noise(A.domain.shape, seed=2))
    gain = matrix.mH @ torch.linalg.inv(matrix @ matrix.mH / precision + extra) / precision
    expected = before + gain @ (y.flatten()[sampled] - matrix @ before)
    assert float((identity - matrix.mH @ matrix).abs().max()) > 0.1
    net = gaussian_network(mu, spread, x0_has_noise=True)
    found = net(None if math.isinf(sigma_t) else state, tensor(sigma_t)[0], y, A, tensor(sigma)[0])
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-4, atol=1e-4)
    plain = gaussian_network(mu, spread)(
        None if math.isinf(sigma_t) else state, tensor(sigma_t)[0], y, A, tensor(sigma)[0]
    )
    assert float((plain.flatten() - expected).abs().max()) > 0.02


def test_of_a_full_scan_its_own_image_comes_back():
    A = sense(keep=2.0)  # every sample
    y = noise(A.range.shape)
    out = network(x0_has_noise=True, cg_iterations=60)(None, tensor(math.inf)[0], y, A, tensor(0.01)[0])
    torch.testing.assert_close(out, A.adjoint(y), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sigma_t", [1e-5, 0.01])
def test_common_noise_does_not_spoil_small_diffusion_noise(sigma_t):
    A = sense(batch=2)
    x_t = noise((2, *A.domain.shape))
    y = A(noise((2, *A.domain.shape), seed=1))
    out = network(x0_has_noise=True)(x_t, tensor(sigma_t, sigma_t), y, A, tensor(0.3, 0.05))
    assert bool(torch.isfinite(out).all())
    assert sigma_t > 1e-4 or float((out - x_t).detach().abs().max()) < 1e-4


def test_the_mean_of_one_coil_has_the_measured_samples():
    """One coil's samples are those of x₀, whatever an untrained network made of them."""
    A = FourierMask((sense(keep=0.4).mask > 0).double(), torch.complex128)
    y = A(noise(A.domain.shape))
    given = y, A, tensor(0.3)[0]
    mean = network(x0_has_noise=True).mean_of(*given).detach()
    torch.testing.assert_close(A(mean), y, rtol=1e-4, atol=1e-5)
    without = network(x0_has_noise=False).mean_of(*given).detach()
    assert float((A(without) - y).abs().max()) > 0.05


def test_the_mean_is_that_of_the_full_scan():
    """x₀ = object + Sᴴ Fᴴ n: by dense matrices, Sᴴ Fᴴ of what was measured and of E[object | y] elsewhere."""
    A, spread, sigma = sense(shape=(6, 5), keep=0.4), 0.4, 0.2
    full = Sense(A.maps, torch.ones_like(A.mask))
    mu = noise(A.domain.shape)
    y = A(noise(A.domain.shape, seed=1)) + 0.2 * A.mask * noise(A.range.shape, seed=2)
    x = gaussian_network(mu, spread)(None, tensor(math.inf)[0], y, A, tensor(sigma)[0])  # E[object | y]
    kspace = torch.where(A.mask.expand(A.range.shape) > 0, y, full(x))
    expected = full.adjoint(kspace)
    found = gaussian_network(mu, spread, x0_has_noise=True).with_samples(x, y, A)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float((found - x).abs().max()) > 0.02


def test_a_further_evaluation_begins_before_the_samples_are_put_back():
    """In training as in use: what is fed back is the network's answer, not the image that is written."""
    A = sense(keep=0.4)
    y = A(noise(A.domain.shape))
    given = y, A, tensor(0.3)[0]
    net = network(x0_has_noise=True)
    first = net(None, tensor(math.inf)[0], *given)
    assert torch.equal(net.state_of_mean(*given, 1), first)
    assert not torch.allclose(net.mean_of(*given, passes=1), first, atol=1e-3)
    second = net(first, tensor(SIGMA_OF_MEAN)[0], *given)
    torch.testing.assert_close(net.mean_of(*given, passes=2), net.with_samples(second, y, A))
