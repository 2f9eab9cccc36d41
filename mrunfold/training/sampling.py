"""Which samples a simulated scan takes: random matrix sizes and masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrunfold.masks import Mask, draw
from mrunfold.protocols import Measurements
from mrunfold.training.chance import chance, log_uniform, uniform

__all__ = ["LINES", "POINTS", "draw_kind", "draw_mask", "draw_size", "drawn_mask"]

LINES = ("random", "equispaced_fraction", "magic")
POINTS = ("poisson", "gaussian", "radial")


def draw_size(sizes: tuple[int, int], generator: torch.Generator) -> tuple[int, int]:
    """Return a random (height, width), multiples of 4 so that convolutions stay quick."""
    low, high = sizes
    return 4 * round(uniform(low, high, generator) / 4), 4 * round(uniform(low, high, generator) / 4)


def draw_kind(kinds: tuple[str, ...], measurements: Measurements, generator: torch.Generator) -> str:
    """Return one kind of mask: each as often, or Poisson-disc in its share of the masks of points."""
    if measurements.poisson is not None and "poisson" in kinds:
        if chance(measurements.poisson, generator):
            return "poisson"
        kinds = tuple(kind for kind in kinds if kind != "poisson")
    return kinds[int(torch.randint(len(kinds), (1,), generator=generator))]


def draw_mask(
    kind: str, shape: tuple[int, int], measurements: Measurements, generator: torch.Generator
) -> Tensor:
    """Return a random mask (y, x) of a kind of LINES or POINTS, float32."""
    return torch.from_numpy(drawn_mask(kind, shape, measurements, generator).array.copy()).float()


def drawn_mask(
    kind: str, shape: tuple[int, int], measurements: Measurements, generator: torch.Generator
) -> Mask:
    """Return a random mask of a kind of LINES or POINTS, with what it was drawn of."""
    accel = log_uniform(measurements.accelerations, generator)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    if kind in LINES:
        if kind != "random":
            accel = max(2, round(accel))
        centre = min(uniform(0.2, 0.45, generator) / accel, 0.9 / accel)
        # In a small matrix the centre must leave lines for the measurements to draw.
        centre = min(max(centre, 4 / shape[1]), (math.ceil(shape[1] / accel) - 1) / shape[1])
        return draw(kind, shape, accel, seed=seed, center_fraction=centre)
    if kind == "poisson":
        side = round(uniform(8, 0.7 * (shape[0] * shape[1] / accel) ** 0.5, generator))
        return draw(kind, shape, accel, seed=seed, calibration=min(side, 24))
    return draw(kind, shape, accel, seed=seed)
