"""Draws of a posterior as a Gaussian around its mean: a few evaluations a pair, no reverse process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mrunfold.diffusion.samplers import Denoiser, complex_noise_like
from mrunfold.errors import InputError

__all__ = ["draw_gaussian", "root_levels"]


def root_levels(count: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return σ_i (count,), decreasing, w_i and the relative error of √v ≈ Σ_i w_i σ_i v/(v + σ_i²).

    For √v from `low` to `high` no other σ_i and w_i have a smaller largest error: Zolotarev's rational
    approximation of the sign function (van den Eshof et al., Comput. Phys. Commun. 146 (2002) 203), times √v.
    """
    from scipy.special import ellipj, ellipk

    if count < 1 or not 0 < low < high:
        raise InputError(f"root_levels needs a level or more and 0 < low < high, got {count}, {low}, {high}")
    parameter = 1 - (low / high) ** 2
    sn = ellipj(np.arange(1, 2 * count) * ellipk(parameter) / (2 * count), parameter)[0]
    roots = sn**2 / (1 - sn**2)
    poles, zeros = roots[0::2], roots[1::2]
    residues = np.array([np.prod(zeros - p) / np.prod(np.delete(poles, i) - p) for i, p in enumerate(poles)])
    root = np.geomspace(1, high / low, 4001)[:, None]
    share = (residues * root / (root**2 + poles)).sum(axis=1)  # of √v, before the common factor
    factor = 2 / (share.max() + share.min())
    sigmas, weights = low * np.sqrt(poles), factor * residues / np.sqrt(poles)
    return sigmas[::-1].copy(), weights[::-1].copy(), float(np.abs(factor * share - 1).max())


@torch.no_grad()
def draw_gaussian(
    denoiser: Denoiser,
    mean: Tensor,
    count: int,
    generators: Sequence[torch.Generator],
    *,
    levels: int = 2,
    spread: tuple[float, float] = (0.004, 0.2),
    progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[Tensor, int]:
    """Return `count` draws (draw, batch, *item) of N(m, C) around the mean m, and evaluations of an item.

    C is the posterior's covariance as the denoiser knows it: of a Gaussian D(m + σε, σ) − D(m, σ) is
    C (C + σ²)⁻¹ σε, and to second order in σ of any (σ² ∂D/∂x_t = Cov[x₀ | x_t, y]: Manor and Michaeli, On
    the posterior distribution in denoising (2024)).  A sum over a few levels is its root, with `root_levels`:
        √C ε ≈ Σ_i w_i (D(m + σ_i ε, σ_i) − D(m, σ_i)).
    Draws come in pairs m ± √C ε: their mean is m, and a pair costs `levels` evaluations, all of them `levels`
    more.  spread: the least and the largest standard deviation of C's directions that are drawn rightly.
    mean: (batch, *item); generators: one an item.  What is not Gaussian, as two anatomies that both explain
    the data, is not in such draws: that takes a sampler of `diffusion.samplers`.
    """
    sigmas, weights, _ = root_levels(levels, *spread)
    batch = mean.shape[0] if mean.ndim else 0
    level = [torch.full((batch,), s, dtype=mean.real.dtype, device=mean.device) for s in sigmas.tolist()]
    centre = [denoiser(mean, sigma) for sigma in level]
    draws = torch.empty((count, *mean.shape), dtype=mean.dtype, device=mean.device)
    pairs = math.ceil(count / 2)
    for n in range(pairs):
        noise = complex_noise_like(mean, generators)
        off = torch.zeros_like(mean)
        for i, (sigma, weight) in enumerate(zip(sigmas.tolist(), weights.tolist(), strict=True)):
            off += weight * (denoiser(mean + sigma * noise, level[i]) - centre[i])
        draws[2 * n] = mean + off
        if 2 * n + 1 < count:
            draws[2 * n + 1] = mean - off
        progress((n + 1) / pairs)
    return draws, levels * (pairs + 1)
