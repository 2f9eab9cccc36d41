"""A small network with random weights."""

from __future__ import annotations

import torch
from torch import nn

from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.protocols import NetworkSpec, PriorSpec

SPEC = NetworkSpec(
    blocks=2, shared=False, cg_iterations=4, passes=3, prior=PriorSpec(widths=(4, 6), blocks=1)
)


def random_network(spec: NetworkSpec = SPEC) -> PosteriorDenoiser:
    """A network whose zero layers, of the priors and the levels, have values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PosteriorDenoiser.from_spec(spec)
        for prior in network.priors:
            nn.init.normal_(prior.tail.weight, std=0.05)
        nn.init.normal_(network.levels.mlp[2].weight, std=0.1)
    return network.eval().requires_grad_(False)
