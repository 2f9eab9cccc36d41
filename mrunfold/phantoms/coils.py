"""Simulated coil sensitivities, for training and for the sample scan."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["loop_sensitivities", "simulated_maps"]


def simulated_maps(coils: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return the sensitivities of loop coils around the object, complex64 (coil, y, x), Σ_c |s_c|² = 1.

    As `loop_sensitivities`, divided by their root sum of squares.  One coil is uniform up to a slow phase.
    """
    sensitivities = loop_sensitivities(coils, shape, generator)
    norm = sensitivities.abs().square().sum(dim=0, keepdim=True).sqrt()
    return (sensitivities / norm).to(torch.complex64)


def loop_sensitivities(
    coils: int, shape: tuple[int, int], generator: torch.Generator, arc: float = 2 * math.pi
) -> Tensor:
    """Return sensitivities of loop coils, complex128 (coil, y, x), largest near the loops.

    Each coil is a small loop on an ellipse around the field of view whose sensitivity falls off as that of a
    magnetic dipole and whose phase turns with the direction to the loop; positions, sizes, phases and depth
    are drawn from `generator`.  arc: the part of the ellipse that has coils, in radians.
    """

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64) * (high - low) + low

    y = torch.linspace(-1, 1, shape[0], dtype=torch.float64)[:, None]
    x = torch.linspace(-1, 1, shape[1], dtype=torch.float64)[None, :]
    angle = arc * (torch.arange(coils, dtype=torch.float64) + uniform(-0.3, 0.3, coils)) / coils
    angle = angle + uniform(0, 2 * math.pi, 1)
    distance = uniform(1.05, 1.5, 1) * uniform(0.92, 1.08, coils)
    aspect = uniform(0.85, 1.15, 1)
    dy = y[None] - (distance * aspect * torch.sin(angle))[:, None, None]
    dx = x[None] - (distance / aspect * torch.cos(angle))[:, None, None]
    size = uniform(0.3, 0.9, coils)[:, None, None]
    # On-axis field of a loop of radius a at distance d: a² / (a² + d²)^(3/2).
    square = size**2 + dx**2 + dy**2
    magnitude = size**2 / square**1.5
    # The sine of the direction to the loop, seen from its axis: smooth everywhere, behind the loop too.
    aside = (dx * torch.sin(angle)[:, None, None] - dy * torch.cos(angle)[:, None, None]) / square.sqrt()
    phase = uniform(0.3, 1.5, 1) * aside + uniform(0, 2 * math.pi, coils)[:, None, None]
    return torch.polar(magnitude * uniform(0.7, 1.3, coils)[:, None, None], phase)
