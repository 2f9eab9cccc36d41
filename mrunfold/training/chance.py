"""Random numbers and fields from an explicit generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["chance", "log_uniform", "smooth_field", "uniform"]


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def log_uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return math.exp(uniform(math.log(bounds[0]), math.log(bounds[1]), generator))


def chance(share: float, generator: torch.Generator) -> bool:
    """Return True in `share` of the draws."""
    return uniform(0, 1, generator) < share


def smooth_field(shape: tuple[int, int], knots: int, generator: torch.Generator) -> Tensor:
    """Return a smooth random field (y, x) of about unit variance with `knots` bumps an axis."""
    coarse = torch.randn(1, 1, knots, knots, generator=generator)
    return F.interpolate(coarse, size=shape, mode="bicubic", align_corners=True)[0, 0]
