"""Noise levels for a reverse diffusion: decreasing, the last one 0."""

from __future__ import annotations

import torch
from torch import Tensor

from mrunfold.errors import InputError

__all__ = ["geometric", "karras", "variance_preserving"]

TIMES = 1000  # of DDPM's schedule


def karras(steps: int, sigma_min: float, sigma_max: float | Tensor, rho: float = 7.0) -> Tensor:
    """Return σ_0 = sigma_max > … > σ_{N−1} = sigma_min > σ_N = 0, N = steps, dense near 0 as rho grows.

    sigma_max: a number, or (batch,) for a schedule of each item.  Returns float64 (steps + 1,) or
    (steps + 1, batch).  One step goes from sigma_max to 0.
    Karras et al., Elucidating the design space of diffusion-based generative models (2022), eq. 5.
    """
    if rho <= 0:
        raise InputError(f"karras expects rho > 0, got {rho}; 7 is usual")
    ramp, low, high = _ramp(steps, sigma_min, sigma_max)
    sigmas = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return _ended(sigmas)


def geometric(steps: int, sigma_min: float, sigma_max: float | Tensor) -> Tensor:
    """Return σ_0 = sigma_max > … > σ_{N−1} = sigma_min > σ_N = 0, N = steps, log σ in equal steps.

    sigma_max: a number, or (batch,) for a schedule of each item.  Returns float64 (steps + 1,) or
    (steps + 1, batch).  One step goes from sigma_max to 0.
    """
    ramp, low, high = _ramp(steps, sigma_min, sigma_max)
    return _ended(high * (low / high) ** ramp)


def variance_preserving(steps: int, quadratic: bool = False, sigma_max: float | None = None) -> Tensor:
    """Return σ_t = √(1/ᾱ_t − 1) at `steps` of the 1000 times of DDPM, from 157 to 0.01, then 0.

    β_t from 1e-4 to 0.02 in equal steps: Ho, Jain and Abbeel, Denoising diffusion probabilistic models
    (2020), sec. 4.  Times lie evenly, or `quadratic`, denser where σ_t is small, as in DiffPIR.  sigma_max:
    the times begin at the highest level below it.  Returns float64 (n + 1,), n = steps, less where times
    repeat.
    """
    bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, TIMES, dtype=torch.float64), dim=0)
    levels = (1 / bar - 1).sqrt()
    if not 1 <= steps <= TIMES:
        raise InputError(f"a schedule of {TIMES} times has 1 to {TIMES} steps, got {steps}")
    most = TIMES - 1 if sigma_max is None else int((levels <= sigma_max).sum()) - 1
    if most < 0:
        raise InputError(f"the least level of this schedule is {float(levels[0]):.3g}, got {sigma_max:g}")
    share = torch.linspace(1, 0, steps, dtype=torch.float64)
    times = (1 - (1 - share).sqrt() if quadratic else share) * most
    return _ended(levels[torch.unique_consecutive(times.round().long())])


def _ramp(steps: int, sigma_min: float, sigma_max: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return i/(N−1) for i < N, sigma_min and sigma_max, checked and shaped to broadcast."""
    high = torch.as_tensor(sigma_max, dtype=torch.float64)
    low = torch.as_tensor(sigma_min, dtype=torch.float64, device=high.device)
    if steps < 1:
        raise InputError(f"a schedule has at least one step, got {steps}")
    if not bool((low > 0) & (low < high).all() & torch.isfinite(high).all()):
        raise InputError(
            f"a schedule needs 0 < sigma_min < sigma_max < ∞, got sigma_min = {sigma_min}, "
            f"sigma_max = {sigma_max}"
        )
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64, device=high.device)
    return ramp.reshape(steps, *(1,) * high.ndim), low, high


def _ended(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, torch.zeros_like(sigmas[:1])])
