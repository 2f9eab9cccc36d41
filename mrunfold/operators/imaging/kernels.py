"""Blur kernels (y, x), float32, of sum 1 and centred: what a camera does to a point of light."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrunfold.errors import InputError

__all__ = ["bicubic_kernel", "box_kernel", "disc_kernel", "gaussian_kernel", "motion_kernel"]

FINE = 8  # positions a pixel at which discs and lines are drawn
MAX_SIDE = 511  # pixels, of a kernel


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} of a kernel is a number above 0, in pixels, got {value}")


def _reach(extent: float) -> int:
    """Return how many pixels a kernel has to each side of its middle, or raise InputError for too many."""
    if extent > MAX_SIDE // 2:
        raise InputError(
            f"a kernel reaches {MAX_SIDE // 2} pixels from its middle at most, got {extent:.4g}; shrink it"
        )
    return math.ceil(extent)


def gaussian_kernel(
    sigma: float | tuple[float, float], size: int | None = None, angle: float = 0.0
) -> Tensor:
    """Return exp(−½ dᵀ Σ⁻¹ d), sampled at pixel centres.

    sigma: standard deviation in pixels, or one along the direction `angle` and one across it (degrees,
    counter-clockwise from the x axis); size: side in pixels, by default 3σ to each side.
    """
    along, across = (sigma, sigma) if isinstance(sigma, float | int) else sigma
    _positive("sigma", along)
    _positive("sigma", across)
    side = 2 * _reach(3 * max(along, across)) + 1 if size is None else size
    _positive("size", side)
    _reach(side // 2)
    u = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = u[None, :], -u[:, None]  # rows run downwards, angles upwards
    kernel = torch.exp(-0.5 * (((cos * x + sin * y) / along) ** 2 + ((cos * y - sin * x) / across) ** 2))
    return (kernel / kernel.sum()).float()


def motion_kernel(length: float, angle: float = 0.0) -> Tensor:
    """Return a straight line of `length` pixels at `angle` (degrees, counter-clockwise from the x axis)."""
    _positive("length", length)
    half = length / 2
    reach = _reach(half)
    side = 2 * reach + 1
    if not math.isfinite(angle):
        raise InputError(f"the angle of a kernel is a number of degrees, got {angle}")
    count = FINE * math.ceil(length) + 1
    t = torch.linspace(-half, half, count, dtype=torch.float64)
    x = t * math.cos(math.radians(angle)) + reach
    y = -t * math.sin(math.radians(angle)) + reach
    kernel = torch.zeros(side, side, dtype=torch.float64)
    left, top = x.floor().long(), y.floor().long()
    for dy in (0, 1):  # each point is shared between the four pixels around it
        for dx in (0, 1):
            share = (1 - (x - (left + dx)).abs()) * (1 - (y - (top + dy)).abs())
            at = ((top + dy).clamp(max=2 * reach), (left + dx).clamp(max=2 * reach))
            kernel.index_put_(at, share, accumulate=True)
    return (kernel / kernel.sum()).float()


def disc_kernel(radius: float) -> Tensor:
    """Return a disc of `radius` pixels, the blur of a lens out of focus; rim pixels by their covered area."""
    _positive("radius", radius)
    reach = _reach(radius)
    side = 2 * reach + 1
    u = (torch.arange(side * FINE, dtype=torch.float64) + 0.5) / FINE - side / 2
    inside = (u[:, None] ** 2 + u**2 <= radius**2).double()
    kernel = inside.reshape(side, FINE, side, FINE).mean(dim=(1, 3))
    return (kernel / kernel.sum()).float()


def box_kernel(factor: int) -> Tensor:
    """Return the mean over factor×factor pixels: with `Downsample`, average pooling."""
    _positive("factor", factor)
    return torch.full((factor, factor), 1.0 / factor**2)


def bicubic_kernel(factor: int) -> Tensor:
    """Return the antialiased bicubic kernel of `Downsample`, a = −½, as Matlab's and Pillow's resize have it.

    Keys, IEEE Trans. ASSP 29 (1981), eq. 15, stretched by `factor`.
    """
    _positive("factor", factor)
    side = 4 * factor + factor % 2  # of the parity of the factor
    d = ((torch.arange(side, dtype=torch.float64) - (side - 1) / 2) / factor).abs()
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    line = torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
    line = line / line.sum()
    return (line[:, None] * line).float()
