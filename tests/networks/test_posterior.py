"""The unrolled network: its limits, the closed form it reduces to, and what must not matter to it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from unrolled import (
    SHAPE,
    dense,
    gaussian_network,
    generator,
    network,
    noise,
    sense,
    tensor,
)

from mrunfold.diffusion import karras, sample_heun
from mrunfold.errors import InputError
from mrunfold.networks.posterior import TAU, Levels
from mrunfold.networks.prior import Prior, slow_phase
from mrunfold.operators import FourierMask, Sense
from mrunfold.problem import Problem
from mrunfold.testing.posteriors import GaussianPosterior

# --- properties of the model ---


@pytest.mark.parametrize("sigma_t", [0.0, 1e-9, 1e-5])
def test_without_diffusion_noise_the_state_comes_back(sigma_t):
    A = sense(batch=2)
    x_t = noise((2, *A.domain.shape))
    y = A(noise((2, *A.domain.shape), seed=1))
    out = network()(x_t, tensor(sigma_t, sigma_t), y, A, tensor(0.01, 0.05))
    assert float((out - x_t).detach().abs().max()) < 1e-4


@pytest.mark.parametrize("sigma_t", [0.2, 3.0, math.inf])
@pytest.mark.parametrize("kind", ["sense", "fourier", "nothing measured"])
def test_a_gaussian_prior_gives_the_exact_posterior_mean(kind, sigma_t):
    A = FourierMask(torch.rand(6, 5, generator=generator()) < 0.5, torch.complex128)
    if kind != "fourier":
        A = sense(shape=(6, 5), keep=0.5 if kind == "sense" else 0)
    sigma_y, spread, mu = 0.1, 0.7, noise(A.domain.shape, seed=3)
    y = A(noise(A.domain.shape, seed=1)) + 0.1 * noise(A.range.shape, seed=2)
    x_t = noise((1, *A.domain.shape), seed=4)
    matrix, eye = dense(A), torch.eye(30, dtype=torch.complex128)
    precision = matrix.mH @ matrix / sigma_y**2 + (1 / spread**2 + 1 / sigma_t**2) * eye
    right = matrix.mH @ y.flatten() / sigma_y**2 + mu.flatten() / spread**2 + x_t.flatten() / sigma_t**2
    expected = torch.linalg.solve(precision, right)
    out = gaussian_network(mu, spread)(x_t, tensor(sigma_t), y[None], A, tensor(sigma_y))
    # Conjugate gradients stop at a relative residual of 1e-5.
    torch.testing.assert_close(out.flatten(), expected, rtol=0, atol=2e-4)


def test_samples_through_one_block_have_the_posteriors_mean_and_covariance():
    A = sense(coils=2, shape=(2, 3), keep=0.6)
    mu, draws = noise(A.domain.shape, seed=3), 3000
    y = A(mu + noise(A.domain.shape, seed=1))
    exact = GaussianPosterior.from_measurement(dense(A), y.flatten(), 0.3, mu.flatten(), 1.0)
    problem = Problem(y.expand(draws, *y.shape), A, tensor(0.3).expand(draws), tensor(1.0).expand(draws))
    denoiser = gaussian_network(mu, 1.0).given(problem)
    sigmas = karras(30, sigma_min=0.02, sigma_max=15.0)
    x = sigmas[0] * noise((draws, *A.domain.shape), seed=9) + mu
    samples = sample_heun(denoiser, x, sigmas, [generator(i) for i in range(draws)]).reshape(draws, -1)
    z = (samples - exact.mean) @ torch.linalg.inv(torch.linalg.cholesky(exact.covariance)).mT
    assert float(z.mean(dim=0).abs().max()) < 0.1
    covariance = z.mT @ z.conj() / draws
    assert float((covariance - torch.eye(6, dtype=torch.complex128)).abs().max()) < 0.12


def test_nothing_measured_is_a_denoiser_of_the_state():
    A = sense(keep=0)
    x = noise((1, *A.domain.shape))
    out = network()(x, tensor(0.3), torch.zeros(1, *A.range.shape, dtype=x.dtype), A, tensor(0.01))
    assert bool(torch.isfinite(out.abs()).all())
    assert not torch.allclose(out, x)
    # All it can be: x_t and the prior of x_t, of weights that add up to one; y has no part in it.
    other = network()(x, tensor(0.3), noise((1, *A.range.shape), seed=8), A, tensor(0.01))
    torch.testing.assert_close(other, out)


@pytest.mark.parametrize("sigma_t", [0.02, 0.3, 80.0])
def test_nothing_measured_begins_at_the_state_and_its_noise(sigma_t):
    A, net, told = sense(keep=0), network(), []
    net.prior(0).register_forward_pre_hook(lambda module, args: told.append(args))
    x_t = noise((1, *A.domain.shape))
    net(x_t, tensor(sigma_t), torch.zeros(1, *A.range.shape, dtype=x_t.dtype), A, tensor(0.01))
    x, tau = told[0]
    torch.testing.assert_close(x, x_t)
    torch.testing.assert_close(tau, tensor(sigma_t))


def test_a_batch_may_hold_items_with_and_without_a_measurement():
    A, net = sense(batch=2), network()
    A = Sense(A.maps, A.mask * torch.tensor([0.0, 1.0], dtype=A.mask.dtype)[:, None, None])
    x_t, sigma_t, sigma_y = noise((2, *A.domain.shape)), tensor(5.0, 5.0), tensor(0.01, 0.01)
    y = A(noise((2, *A.domain.shape), seed=1))
    together = net(x_t, sigma_t, y, A, sigma_y)
    for i in range(2):
        one = Sense(A.maps[[i]], A.mask[[i]])
        alone = net(x_t[[i]], sigma_t[[i]], y[[i]], one, sigma_y[[i]])
        torch.testing.assert_close(together[[i]], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_a_block_costs_a_normal_operator_a_step_and_none_to_begin(training, monkeypatch):
    calls = []
    normal = Sense._normal
    monkeypatch.setattr(Sense, "_normal", lambda A, x: calls.append(None) or normal(A, x))
    A, net = sense(coils=4), network(cg_iterations=3, start_iterations=5)
    with torch.set_grad_enabled(training):
        net.mean(Problem(A(noise((1, *A.domain.shape))), A, tensor(0.001), tensor(1.0)))
    assert len(calls) == 5 + 3 * net.blocks


@pytest.mark.parametrize("coils", [1, 2, 8])
def test_the_same_weights_take_any_operator(coils):
    net = network()
    for A in (sense(coils), sense(coils, keep=0.1, seed=4), sense(coils, shape=(9, 17)), FourierMask(
        torch.rand(8, 8, generator=generator()) < 0.4, torch.complex128
    )):  # fmt: skip
        x = noise((1, *A.domain.shape))
        out = net.mean(Problem(A(x), A, tensor(0.02), tensor(1.0)))
        assert out.shape == x.shape
        assert bool(torch.isfinite(out.abs()).all())


def test_one_coil_is_the_same_as_a_fourier_mask():
    mask = torch.rand(SHAPE, generator=generator()) < 0.5
    A, B = Sense(torch.ones(1, 1, *SHAPE, dtype=torch.complex128), mask), FourierMask(mask, torch.complex128)
    y, net = A(noise((1, 1, *SHAPE))), network(cg_iterations=60)
    out = [net.mean(Problem(y, op, tensor(0.02), tensor(1.0))) for op in (A, B)]
    torch.testing.assert_close(out[0], out[1], rtol=0, atol=1e-3)


def test_an_item_does_not_depend_on_its_batch():
    A, net = sense(batch=3), network()
    x_t, y = noise((3, *A.domain.shape)), A(noise((3, *A.domain.shape), seed=1))
    sigma_t, sigma_y = tensor(0.1, math.inf, 1.0), tensor(0.002, 0.01, 0.3)
    together = net(x_t, sigma_t, y, A, sigma_y)
    for i in range(3):
        one = slice(i, i + 1)
        alone = net(x_t[one], sigma_t[one], y[one], Sense(A.maps[one], A.mask[one]), sigma_y[one])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-9, atol=1e-10)


def test_a_state_at_infinite_noise_says_nothing():
    A, net = sense(), network()
    y = A(noise((1, *A.domain.shape)))
    inf = tensor(math.inf)
    a, b = (net(x_t, inf, y, A, tensor(0.01)) for x_t in (None, noise((1, *A.domain.shape), seed=5)))
    assert torch.equal(a, b)


def test_a_finite_level_needs_a_state():
    A = sense()
    with pytest.raises(InputError, match="needs a diffusion state"):
        network()(None, tensor(0.5), torch.zeros(1, *A.range.shape, dtype=torch.complex128), A, tensor(0.01))


# --- levels ---


@pytest.mark.parametrize("sigma_y", [0.3, 1e-6, 10.0])
@pytest.mark.parametrize("sigma_t", [math.inf, 1.0, 1e-6])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("misfit", [0.0, 1.0, 1e9])
@pytest.mark.parametrize("samples", [0.0, 16.0])
def test_levels_stay_in_their_bounds(sigma_y, sigma_t, fraction, misfit, samples):
    levels = Levels(4).double()
    for scale in (0.0, 1.0, 1e4):
        nn.init.normal_(levels.mlp[2].weight, std=scale, generator=generator())
        told = (sigma_y, sigma_t, fraction, samples, misfit)
        tau, rho, doubt = levels(*(tensor(value) for value in told))
        assert tau.shape == rho.shape == doubt.shape == (1, 4)
        assert bool((doubt >= 1 - 1e-9).all() and (doubt <= 30 * (1 + 1e-9)).all())
        state = 1 / (sigma_t**2 + TAU[0] ** 2)
        assert bool((rho >= (TAU[1] ** -2 + state) * (1 - 1e-9)).all())
        assert bool((rho <= (TAU[0] ** -2 + 30 * state) * (1 + 1e-9)).all())
        low = (TAU[0] ** -2 + sigma_t**-2) ** -0.5
        if fraction == 0 and math.isfinite(sigma_t):
            assert float(tau[0, 0]) == sigma_t
            tau = tau[:, 1:]
        assert bool((tau >= low * (1 - 1e-9)).all())
        assert bool((tau <= min(TAU[1], sigma_t) * (1 + 1e-9)).all())


@pytest.mark.parametrize("sigma_y", [0.3, 1e-6])
@pytest.mark.parametrize("sigma_t", [math.inf, 1e-9])
@pytest.mark.parametrize("keep", [0.0, 0.03, 1.0])
def test_extreme_input_gives_finite_output(sigma_y, sigma_t, keep):
    A = sense(keep=keep, dtype=torch.complex64)
    x = noise((1, *A.domain.shape), torch.complex64)
    net = network().float()
    out = net(x, torch.tensor([sigma_t]), A(x), A, torch.tensor([sigma_y]))
    assert bool(torch.isfinite(torch.view_as_real(out)).all())
    zero = net(
        torch.zeros_like(x), torch.tensor([sigma_t]), torch.zeros_like(A(x)), A, torch.tensor([sigma_y])
    )
    assert bool(torch.isfinite(torch.view_as_real(zero)).all())


# --- gradients ---


def gradients(net, A, x_t, y, sigma_t=0.4):
    net.zero_grad()
    out = net(x_t, tensor(sigma_t), y, A, tensor(0.05))
    loss = (out - 1).abs().square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize("cg_iterations", [2, 5, 40])
@pytest.mark.parametrize("sigma_t", [0.4, math.inf])
def test_gradient_is_that_of_finite_differences(cg_iterations, sigma_t, monkeypatch):
    """Whatever the number of steps: it is the steps that are differentiated, not the solution.

    The slow phase by which a prior turns its input is taken as given: here it is that of the first run.
    """
    A, net = sense(shape=(6, 5)), network(cg_iterations=cg_iterations)
    x_t, y = noise((1, *A.domain.shape)), A(noise((1, *A.domain.shape), seed=1))
    phases = []

    def recorded(x, level):
        phases.append(slow_phase(x, level))
        return phases[-1]

    monkeypatch.setattr("mrunfold.networks.prior.slow_phase", recorded)
    _, exact = gradients(net, A, x_t, y, sigma_t)
    order = itertools.cycle(list(phases))
    monkeypatch.setattr("mrunfold.networks.prior.slow_phase", lambda x, level: next(order))
    for name, parameter in net.named_parameters():
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=generator(7))
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter += step * direction
            values.append(gradients(net, A, x_t, y, sigma_t)[0])
            with torch.no_grad():
                parameter -= step * direction
        numeric = float(values[0] - values[1]) / 2e-6
        analytic = float((exact[name] * direction).sum())
        assert numeric == pytest.approx(analytic, rel=1e-4, abs=1e-8), name


def first_solves(monkeypatch, A, net, y, sigma_y):
    """The right-hand side, the options and the solution of every solve of a mean."""
    seen = []
    solve = type(A).solve_with_statistics

    def recorded(self, rhs, *args, **options):
        seen.append((rhs, options, solve(self, rhs, *args, **options)))
        return seen[-1][-1]

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(type(A), "solve_with_statistics", recorded)
        net(None, tensor(math.inf), y, A, sigma_y)
    return seen


def test_the_first_solve_goes_further_than_the_blocks(monkeypatch):
    A, net = sense(), network(cg_iterations=3, start_iterations=9)
    first, *blocks = first_solves(monkeypatch, A, net, A(noise((1, *A.domain.shape))), tensor(0.05))
    assert first[1]["max_iterations"] == 9
    assert [(o["max_iterations"], float(o["tolerance"])) for _, o, _ in blocks] == [(3, 1e-5)] * net.blocks


def test_the_first_solve_ends_where_its_residual_is_a_tenth_of_the_noise(monkeypatch):
    A, net, steps = sense(coils=4), network(start_iterations=100), []
    clean = A(noise((1, *A.domain.shape)))
    for sigma_y in (0.1, 0.01, 0.001):
        y = clean + sigma_y * A(A.adjoint(noise(clean.shape, seed=1)))
        rhs, _, found = first_solves(monkeypatch, A, net, y, tensor(sigma_y))[0]
        # E‖Aᴴn‖² of white noise: σ_y² tr(AᴴA).
        expected = sigma_y * math.sqrt(float(A.measured_fraction()) * math.prod(A.domain.shape))
        residual = rhs - (A.normal(found.x) + 4 * sigma_y**2 * found.x)
        assert float(residual.abs().square().sum().sqrt()) <= 0.1 * expected * 1.001
        steps.append(int(found.iterations))
    assert 0 < steps[0] < steps[1] < steps[2] < 100


@pytest.mark.parametrize("shared", [False, True])
def test_checkpointing_changes_no_gradient(shared):
    A = sense()
    x_t, y = noise((1, *A.domain.shape)), A(noise((1, *A.domain.shape), seed=1))
    plain, saving = (network(shared=shared, checkpointing=c) for c in (False, True))
    (loss_a, a), (loss_b, b) = gradients(plain, A, x_t, y), gradients(saving, A, x_t, y)
    assert torch.equal(loss_a, loss_b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=1e-14)


def test_evaluation_is_the_same_with_and_without_gradients():
    A, net = sense(), network()
    y = A(noise((1, *A.domain.shape)))
    problem = Problem(y, A, tensor(0.02), tensor(1.0))
    with torch.no_grad():
        silent = net.mean(problem)
    torch.testing.assert_close(silent, net.mean(problem).detach(), rtol=1e-12, atol=1e-12)


def test_autocast_is_for_the_priors_only(monkeypatch):
    A, net = sense(dtype=torch.complex64), network().float()
    y = A(noise((1, *A.domain.shape), torch.complex64))
    seen = {}
    solve, prior = Sense.solve_with_statistics, Prior.forward

    def watched(self, *args, **options):
        seen["solve"] = torch.is_autocast_enabled("cpu")
        return solve(self, *args, **options)

    def watched_prior(self, *args):
        seen["prior"] = torch.is_autocast_enabled("cpu")
        return prior(self, *args)

    monkeypatch.setattr(Sense, "solve_with_statistics", watched)
    monkeypatch.setattr(Prior, "forward", watched_prior)
    with torch.autocast("cpu", torch.bfloat16):
        out = net.mean(Problem(y, A, torch.tensor([0.02]), torch.tensor([1.0])))
    assert seen == {"solve": False, "prior": True}
    assert out.dtype == torch.complex64


def test_shared_priors_are_one_and_separate_ones_start_alike():
    shared, separate = network(3, shared=True), network(3)
    assert shared.prior(0) is shared.prior(2)
    state = separate.prior(0).state_dict()
    separate.load_prior(state)
    assert all(torch.equal(separate.prior(2).state_dict()[name], value) for name, value in state.items())
    assert separate.prior(0) is not separate.prior(2)
    counts = [net.describe()["parameters"] for net in (shared, separate)]
    assert counts[0] < counts[1]
