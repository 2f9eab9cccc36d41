"""Small unrolled networks, operators and noise that the tests of the network share."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.networks.prior import Prior
from mrunfold.operators import LinearOperator, Sense
from mrunfold.phantoms.coils import simulated_maps

SHAPE = (12, 10)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(shape, dtype=torch.complex128, seed=0):
    return torch.randn(shape, dtype=dtype, generator=generator(seed))


def sense(coils=3, shape=SHAPE, keep=0.5, seed=0, batch=None, dtype=torch.complex128):
    def one(i):
        return simulated_maps(coils, shape, generator(seed + i)), torch.rand(
            shape, generator=generator(seed + 50 + i)
        ) < keep

    if batch is None:
        maps, mask = one(0)
        return Sense(maps.to(dtype)[None], mask)
    pairs = [one(i) for i in range(batch)]
    return Sense(torch.stack([m for m, _ in pairs]).to(dtype)[:, None], torch.stack([k for _, k in pairs]))


def network(blocks=2, trained=True, seed=0, **options):
    """A tiny one; `trained` gives the zero layers, of the prior and the levels, values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PosteriorDenoiser(blocks, prior=lambda: Prior(widths=(4, 6), blocks=1), **options)
        if trained:
            for prior in net.priors:
                nn.init.normal_(prior.tail.weight, std=0.05)
            nn.init.normal_(net.levels.mlp[2].weight, std=0.1)
    return net.double().eval()


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


class GaussianPrior(Prior):
    """R ≡ μ: the consistency step with ρ = 1/s² is then the posterior mean under N(μ, s² I)."""

    def __init__(self, mu):
        super().__init__(widths=(4, 6), blocks=1)
        self.mu = mu

    def forward(self, x, tau):
        return self.mu.expand_as(x)


class GivenLevels(nn.Module):
    def __init__(self, rho):
        super().__init__()
        self.rho = rho

    def forward(self, sigma_y, sigma_t, fraction, samples, misfit):
        one = torch.ones_like(sigma_y)[..., None]
        return one, self.rho * one, one


def gaussian_network(mu, spread, **options):
    prior = partial(Prior, widths=(4, 6), blocks=1)
    net = PosteriorDenoiser(1, cg_iterations=400, prior=prior, **options).double()
    net.priors = nn.ModuleList([GaussianPrior(mu)])
    net.levels = GivenLevels(spread**-2)
    return net.eval().requires_grad_(False)


def dense(A: LinearOperator):
    n = math.prod(A.domain.shape)
    columns = A(torch.eye(n, dtype=A.domain.dtype).reshape(n, *A.domain.shape))
    return columns.reshape(n, -1).T
