"""Outlines of bodies that reach and cross the edges of the field of view, as complex images."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["BODIES", "body"]

# Ellipses (intensity, centre y and x, half axis y and x) in half fields of view; later ones lie on top.
BODIES: dict[str, tuple[tuple[float, float, float, float, float], ...]] = {
    "torso": ((1.0, 0.0, 0.0, 0.8, 1.25), (0.35, 0.0, 0.0, 0.72, 1.15), (0.1, -0.1, -0.45, 0.4, 0.3),
              (0.1, -0.1, 0.5, 0.42, 0.32), (0.7, 0.5, 0.0, 0.15, 0.18)),
    "shoulder": ((1.0, 0.2, 0.75, 0.95, 0.9), (0.45, 0.2, 0.75, 0.85, 0.8), (0.8, -0.1, 0.2, 0.25, 0.25),
                 (0.25, 0.5, 0.9, 0.4, 0.35)),
    "knee": ((1.0, 0.0, -0.55, 1.3, 0.5), (0.4, 0.0, -0.55, 1.3, 0.42), (0.75, -0.55, -0.55, 0.5, 0.27),
             (0.75, 0.6, -0.55, 0.5, 0.25)),
    "spine": ((1.0, 0.0, 0.4, 1.4, 0.75), (0.3, 0.0, 0.35, 1.4, 0.68), (0.65, 0.0, 0.55, 1.3, 0.12),
              (0.9, 0.0, 0.72, 1.3, 0.05)),
}  # fmt: skip


def body(name: str, shape: tuple[int, int]) -> np.ndarray:
    """Return one of BODIES on a matrix (y, x), complex64 of height 1, with texture and a slow phase."""
    y = np.linspace(-1, 1, shape[0])[:, None]
    x = np.linspace(-1, 1, shape[1])[None]
    image = np.zeros(shape)
    for value, cy, cx, ay, ax in BODIES[name]:
        radius = np.sqrt(((y - cy) / ay) ** 2 + ((x - cx) / ax) ** 2)
        edge = np.clip((1 - radius) * min(ay, ax) * min(shape) / 2, 0, 1)
        image = image * (1 - edge) + value * edge
    texture = (
        1 + 0.15 * np.sin(19 * x + 5 * y) * np.sin(23 * y - 4 * x) + 0.1 * np.sin(61 * y) * np.sin(53 * x)
    )
    phase = 0.8 * np.sin(1.7 * x + 0.4) * np.cos(1.3 * y) + math.pi / 3
    return (image * texture * np.exp(1j * phase)).astype(np.complex64)
