"""Scenes made of nothing but chance: shapes that cover each other, as leaves on the ground do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["DeadLeaves"]

SIDES = (192, 320)  # pixels of a scene, before it is turned, zoomed and sampled as any slice is
COUNT = 500
RADII = (2.0, 0.3)  # pixels, share of the side
FALLS = (
    1.2,
    3.0,
)  # sizes between are distributed as r^-a: a = 3 as in natural images, less for more large shapes
CORNERS = (1.0, 2.0, 2.0, 2.0, 6.0)  # exponents of |u|^p + |v|^p < 1: diamonds, ellipses, near boxes
DARK = 0.12  # share of shapes without signal, as air and bone have none
TEXTURED = 0.6


@dataclass(frozen=True)
class DeadLeaves:
    """A generator of images with edges, corners, flat parts and textures of every size, and no anatomy.

    What a prior learns from a few heads holds for these heads; what it learns here holds for any image.
    Model: Matheron (1968); with radii of density r^-3 its statistics are those of natural images (Lee,
    Mumford and Huang, IJCV 41 (2001)), and denoisers trained on it alone come near those trained on
    photographs (Achddou, Gousseau and Ladjal, SSVM (2021)).
    """

    count: int = COUNT

    def __call__(self, generator: torch.Generator) -> Tensor:
        """Return one scene (y, x), float32 ≥ 0, of 99th percentile about 1."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        side = int(rng.integers(*SIDES))
        height = np.full((side, side), rng.uniform(0.1, 1.0), np.float32)
        rough = np.zeros((side, side), np.float32)  # how strongly the texture shows
        for radius in _radii(self.count, side, rng):
            _paint(height, rough, radius, rng)
        scene = height * (1 + rough * _texture(side, rng))
        scene = np.maximum(scene, 0)
        return torch.from_numpy(scene / max(float(np.percentile(scene, 99)), 1e-3))


def _radii(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return radii of density r^-a between the bounds, a random, by the inverse of their distribution."""
    power = 1 - rng.uniform(*FALLS)
    low, high = RADII[0] ** power, (RADII[1] * side) ** power
    return (low - rng.random(count) * (low - high)) ** (1 / power)


def _paint(height: np.ndarray, rough: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    """Lay one shape over both maps: a turned, stretched, slightly bent superellipse with shading."""
    side = len(height)
    middle = rng.uniform(0, side, 2)
    reach = 1.5 * radius
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach) + 1, side).astype(int)
    y = np.arange(low[0], high[0], dtype=np.float32)[:, None] - middle[0]
    x = np.arange(low[1], high[1], dtype=np.float32) - middle[1]
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.35, 1.0)
    u = (np.cos(angle) * x + np.sin(angle) * y) / radius
    v = (np.cos(angle) * y - np.sin(angle) * x) / (radius * stretch) + rng.uniform(-0.5, 0.5) * (u * u - 0.3)
    power = rng.choice(CORNERS)
    inside = np.abs(u) ** power + np.abs(v) ** power < 1
    value = 0.0 if rng.random() < DARK else rng.uniform(0.05, 1.0)
    shade = value * (1 + rng.uniform(-0.3, 0.3) * u + rng.uniform(-0.3, 0.3) * v)
    strength = rng.uniform(0, 0.35) if rng.random() < TEXTURED else 0.0
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    height[box] = np.where(inside, shade, height[box])
    rough[box] = np.where(inside, strength, rough[box])


def _texture(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise (side, side) of unit variance whose amplitude falls with frequency as f^-a, a random."""
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    f[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) * f ** -rng.uniform(0.2, 1.6)
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(side, side))
    return (noise / max(noise.std(), 1e-12)).astype(np.float32)
