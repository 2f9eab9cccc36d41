"""Posterior samplers of other groups as methods: shipped priors, any operator, seeds, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mrunfold.benchmarks.photographs.restore import tasks, write_shake
from mrunfold.errors import InputError
from mrunfold.io.images import Photo
from mrunfold.methods import Seeds, get_method
from mrunfold.methods.prior_denoiser import prior_denoiser
from mrunfold.methods.zero_shot import Ddnm
from mrunfold.networks.weights import load_weights
from mrunfold.operators import FourierMask, Nufft, Space
from mrunfold.problem import Problem, collate
from mrunfold.restoration.run import photo_problem


class Shrink(nn.Module):
    """E[x₀ | x_t] of images that are N(0, 1) in each pixel: quick, and known."""

    def forward(self, x, tau):
        return x / (1 + tau[:, None, None, None] ** 2)


SHRINK = f"{__name__}:Shrink"
NAMES = ("dps", "diffpir", "ddnm", "daps", "dds")
FEW = {"steps": 4, "prior": SHRINK}


def off(problem, x):
    residual = problem.y - problem.A(x)
    return float(residual.abs().square().sum() / problem.y.abs().square().sum())


@pytest.fixture(scope="module")
def scan(simulate):
    return simulate((16, 20), coils=2, fraction=0.5)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_make_the_draws(name, scan):
    before = torch.get_rng_state()
    method = get_method(name, samples=2, **FEW)
    first, again, other = (method(scan, Seeds((seed,))) for seed in (1, 1, 2))
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, other.samples)
    assert not torch.equal(first.samples[0], first.samples[1])
    assert torch.allclose(first.mean, first.samples.mean(dim=0))
    assert first.std.shape == first.mean.shape
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_draws_explain_a_scan(name, scan):
    # DPS takes small steps towards the data: many of them.
    options = {"steps": 200, "weight": 2.0} if name == "dps" else {"steps": 30}
    told = []
    result = get_method(name, prior=SHRINK, **options)(scan, Seeds((0,)), told.append)
    assert off(scan, result.mean) < 0.1
    assert told == sorted(told)
    assert told[-1] == 1.0
    per_step = 5 if name == "daps" else 1
    assert result.evaluations == options["steps"] * per_step
    assert result.samples is None


def test_the_network_that_ships_is_the_prior_of_scans(scan):
    result = get_method("dds", steps=3)(scan)
    assert off(scan, result.mean) < 0.2
    assert result.record["prior"] == "mri-wide"
    assert len(result.record["prior_sha256"]) == 64


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", ["gaussian", "x2", "random"])
def test_photographs_of_any_task(name, task, tmp_path):
    write_shake(tmp_path / "shake.png")
    ramp = np.linspace(0.2, 0.8, 32, dtype=np.float32)
    photo = Photo(np.stack([ramp[:, None] * ramp + 0.1 * c for c in range(3)]), None, 8)
    problem = photo_problem(photo, tasks(tmp_path / "shake.png")[task])[0]
    options = {"weight": 2.0, "steps": 30} if name == "dps" else {"steps": 8}
    result = get_method(name, sigma_start=1.0, **options)(problem, Seeds((0,)))
    assert result.mean.dtype == torch.float32
    assert off(problem, result.mean) < 0.1
    assert result.record["prior"] == "natural-prior"


@pytest.mark.parametrize("name", NAMES)
def test_a_trajectory_is_an_operator_as_any_other(name):
    generator = torch.Generator().manual_seed(0)
    k = 16 * torch.rand(300, 2, generator=generator) - 8
    A = Nufft(torch.ones(1, 1, 16, 16, dtype=torch.complex64), k, torch.full((300,), 0.5))
    y, x, s = torch.linspace(-1, 1, 16)[:, None], torch.linspace(-1, 1, 16), torch.tensor(0.01)
    image = torch.exp(-3 * (y**2 + x**2)).to(torch.complex64)[None]
    problem = Problem(A(image), A, s, torch.tensor(1.0))
    # A step of DPS is as long wherever it is: short ones, and many.
    options = {"steps": 600, "weight": 1.0} if name == "dps" else {"steps": 30}
    image = get_method(name, prior=SHRINK, **options)(problem, Seeds((0,))).mean
    assert off(problem, image) < (0.5 if name == "dps" else 0.1)


def test_items_of_a_batch_are_drawn_one_by_one(simulate):
    problems = [simulate((16, 16), coils=1, fraction=0.5, seed=seed) for seed in (0, 1)]
    method = get_method("ddnm", samples=2, **FEW)
    together = method(collate(problems), Seeds((3, 4)))
    alone = method(problems[1], Seeds((4,)))
    assert together.samples.shape == (2, 2, 1, 16, 16)
    assert torch.allclose(together.samples[:, 1], alone.samples, atol=2e-2)
    with pytest.raises(InputError, match="2 items need as many seeds, got 1"):
        method(collate(problems), Seeds((3,)))


def test_the_networks_denoiser_is_its_prior_without_a_measurement():
    domain = Space((2, 16, 16), torch.complex64)
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(1, *domain.shape, dtype=torch.complex64, generator=generator)
    denoiser, facts = prior_denoiser(None, domain, "cpu")
    network, metadata = load_weights(None)
    A, sigma_t = FourierMask(torch.zeros(16, 16)), torch.tensor([0.3])
    one = network(x_t[:, 1:], sigma_t, torch.zeros(1, 1, 16, 16, dtype=torch.complex64), A, torch.ones(1))
    # To the precision of the convolutions, which may be bfloat16.
    assert torch.allclose(denoiser(x_t, sigma_t)[:, 1:], one, atol=2e-2)
    assert facts["prior_sha256"] == metadata["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_refusals(name, scan, tmp_path):
    for options, said in (
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"steps": 1001}, "at most 1000 steps"),
        ({"samples": -1}, "samples must be an integer of at least 0"),
        ({"sigma_start": 0.0}, "sigma_start must be a number of at least 0.05"),
    ):
        with pytest.raises(InputError, match=said):
            get_method(name, **options)
    with pytest.raises(InputError, match="this prior is for real 3-channel images"):
        get_method(name, prior="natural-prior", steps=4)(scan)
    with pytest.raises(InputError, match="no weights nowhere; give a"):
        get_method(name, prior="nowhere", steps=4)(scan)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken.* is no file of weights"):
        get_method(name, prior=str(broken), steps=4)(scan)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dps", {"weight": -1.0}), ("diffpir", {"lamda": 0.0}), ("diffpir", {"zeta": 1.5}),
        ("ddnm", {"eta": 0.0}), ("ddnm", {"eta": 1.1}), ("daps", {"time": -1.0}), ("daps", {"ode_steps": 0}),
        ("dds", {"gamma": 0.0}), ("dds", {"cg_iterations": 0}), ("dds", {"eta": 2.0}),
    ],
)  # fmt: skip
def test_bad_weights_are_named(name, options):
    with pytest.raises(InputError, match=f"{name}: {next(iter(options))} must be"):
        get_method(name, **options)


def test_what_diverges_is_said(scan):
    class Diverging(Ddnm):
        sampler = staticmethod(lambda denoiser, x, *_, **__: x * float("nan"))

    with pytest.raises(InputError, match="ddnm diverged; take more steps"):
        Diverging(steps=4)(scan)


def test_more_noise_is_what_the_sampler_is_told(scan):
    noisier = replace(scan, sigma_y=3 * scan.sigma_y)
    for name in ("ddnm", "diffpir", "daps"):
        told = get_method(name, noise=3.0, **FEW)(scan, Seeds((0,))).mean
        assert torch.equal(told, get_method(name, **FEW)(noisier, Seeds((0,))).mean)
        assert not torch.equal(told, get_method(name, **FEW)(scan, Seeds((0,))).mean)
    with pytest.raises(InputError, match="noise must be"):
        get_method("ddnm", noise=0)
