"""Small simulated problems for the methods."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mrunfold.operators import FourierMask, LinearOperator, Sense
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import Problem, rescale


def ellipses(shape: tuple[int, int]) -> torch.Tensor:
    """Return a head-like phantom (1, y, x) with a slow phase, complex64."""
    y = torch.linspace(-1, 1, shape[0])[:, None]
    x = torch.linspace(-1, 1, shape[1])[None, :]
    image = torch.zeros(shape)
    for cy, cx, ry, rx, value in (
        (0.0, 0.0, 0.85, 0.7, 1.0), (0.0, 0.0, 0.78, 0.63, -0.5), (-0.2, 0.2, 0.3, 0.14, 0.4),
        (-0.1, -0.25, 0.35, 0.18, -0.3), (0.45, 0.0, 0.12, 0.2, 0.3),
    ):  # fmt: skip
        image += value * torch.sigmoid((1 - ((y - cy) / ry) ** 2 - ((x - cx) / rx) ** 2) * 20)
    return torch.polar(image.abs(), 0.8 * y + 0.5 * x * x)[None]


def sampling(shape: tuple[int, int], fraction: float, generator: torch.Generator) -> torch.Tensor:
    """Return a mask (y, x), denser towards a fully sampled centre."""
    y = torch.linspace(-1, 1, shape[0])[:, None]
    x = torch.linspace(-1, 1, shape[1])[None, :]
    density = fraction * 2.5 * torch.exp(-2.5 * (y * y + x * x))
    mask = torch.rand(shape, generator=generator) < density
    return (mask | (torch.maximum(y.abs(), x.abs()) < 0.15)).float()


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Problem]:
    """Return a function that simulates one slice: (shape, coils, fraction, sigma, seed) → Problem."""

    def make(
        shape: tuple[int, int] = (64, 56),
        coils: int = 6,
        fraction: float = 0.3,
        sigma: float = 0.01,
        seed: int = 0,
    ) -> Problem:
        generator = torch.Generator().manual_seed(seed)
        mask = sampling(shape, fraction, generator)
        A: LinearOperator = FourierMask(mask)
        if coils > 1:
            A = Sense(simulated_maps(coils, shape, generator)[None], mask)
        x = ellipses(shape)
        noise = torch.randn(A.range.shape, dtype=torch.complex64, generator=generator)
        y, sigma_y, scale = rescale(A(x) + sigma * mask * noise, A, torch.tensor(sigma))
        return Problem(y, A, sigma_y, scale, target=x / scale, target_kind="combined")

    return make
