"""Simulated multicoil measurements to train on, through the same units as real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mrunfold.coils import EspiritSettings, espirit_maps
from mrunfold.diffusion import complex_noise_like
from mrunfold.masks import calibration_region, draw
from mrunfold.operators import LinearOperator, Sense, fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import rescale
from mrunfold.protocols import Blind, Measurements, Stage
from mrunfold.training.images import ImageBank, random_image, uniform

__all__ = ["TrainingProblem", "draw_problem"]

LINES = ("random", "equispaced_fraction", "magic")
POINTS = ("poisson", "gaussian", "radial")


@dataclass(frozen=True)
class TrainingProblem:
    """A batch of y = A x + n with a diffusion state, in the units of Problem.

    x: target (batch, 1, y, x); x_t: state, zero where sigma_t = ∞; sigma_t, sigma_y: (batch,);
    y: (batch, coil, y, x); A: its operator.
    """

    x: Tensor
    x_t: Tensor
    sigma_t: Tensor
    y: Tensor
    A: LinearOperator
    sigma_y: Tensor

    def to(self, device: torch.device | str) -> TrainingProblem:
        return TrainingProblem(*(getattr(self, f.name).to(device) for f in fields(self)))


def log_uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return math.exp(uniform(math.log(bounds[0]), math.log(bounds[1]), generator))


def draw_size(sizes: tuple[int, int], generator: torch.Generator) -> tuple[int, int]:
    """Return a random (height, width), multiples of 4 so that convolutions stay quick."""
    low, high = sizes
    return 4 * round(uniform(low, high, generator) / 4), 4 * round(uniform(low, high, generator) / 4)


def draw_problem(
    bank: ImageBank, law: Measurements, stage: Stage, generator: torch.Generator
) -> TrainingProblem:
    """Return one random batch: one matrix size, coil number and mask dimension; all else per item."""
    if law.blind is not None and uniform(0, 1, generator) < law.blind.share:
        return _draw_blind(bank, law, law.blind, generator)
    shape = draw_size(stage.sizes, generator)
    coils = round(log_uniform((law.coils[0], law.coils[1]), generator))
    kinds = LINES if uniform(0, 1, generator) < 0.5 else POINTS
    items = [_draw_item(bank, law, shape, coils, kinds, generator) for _ in range(stage.batch)]
    full, maps, mask, sigma = (torch.stack([item[i] for item in items]) for i in range(4))
    measured = mask[:, None] * full
    A = Sense(maps[:, None], mask)
    # The target is what the fully sampled scan, combined with these maps, would have shown: with its noise.
    x = (maps.conj() * ifft2c(full)).sum(dim=1, keepdim=True)
    y, sigma_y, scale = rescale(measured, A, sigma)
    x = x / scale[:, None, None, None]
    sigma_t = torch.tensor(
        [
            math.inf
            if mask[i].any() and uniform(0, 1, generator) < law.mean_fraction
            else log_uniform(law.sigma_t, generator)
            for i in range(stage.batch)
        ]
    )
    finite = sigma_t.where(sigma_t.isfinite(), torch.zeros(()))[:, None, None, None]
    x_t = x + finite * complex_noise_like(x, [generator] * stage.batch)
    return TrainingProblem(x, torch.where(finite > 0, x_t, torch.zeros_like(x)), sigma_t, y, A, sigma_y)


def _draw_blind(
    bank: ImageBank, law: Measurements, blind: Blind, generator: torch.Generator
) -> TrainingProblem:
    """Return a batch of which nothing is measured: images as a single coil that sees all shows them."""
    shape, count = draw_size(blind.sizes, generator), blind.batch
    images = torch.stack([random_image(bank, shape, generator) for _ in range(count)])[:, None]
    sigma_y = torch.tensor([log_uniform(law.sigma_y, generator) for _ in range(count)])
    draws = [generator] * count
    x = images + sigma_y[:, None, None, None] * complex_noise_like(images, draws)
    sigma_t = torch.tensor([log_uniform(blind.sigma_t, generator) for _ in range(count)])
    x_t = x + sigma_t[:, None, None, None] * complex_noise_like(x, draws)
    A = Sense(torch.ones(1, 1, *shape, dtype=x.dtype), torch.zeros(shape))
    return TrainingProblem(x, x_t, sigma_t, torch.zeros_like(x), A, sigma_y)


def _draw_item(
    bank: ImageBank,
    law: Measurements,
    shape: tuple[int, int],
    coils: int,
    kinds: tuple[str, ...],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return full k-space with its noise and the maps that A is given (coil, y, x), mask (y, x) and σ."""
    image = random_image(bank, shape, generator)
    maps = simulated_maps(coils, shape, generator)
    full = fft2c(maps * image)
    sigma = torch.tensor(log_uniform(law.sigma_y, generator))
    full = full + sigma * complex_noise_like(full[None], [generator])[0]
    if uniform(0, 1, generator) < law.dropout:
        return full, maps, torch.zeros(shape), sigma
    kind = kinds[int(torch.randint(len(kinds), (1,), generator=generator))]
    mask = _draw_mask(kind, shape, law, generator)
    if coils > 1:
        found = _calibrated(full, mask) if uniform(0, 1, generator) < law.calibrated else None
        maps = _as_estimated(maps, image, generator) if found is None else found
    return full, maps, mask, sigma


def _draw_mask(kind: str, shape: tuple[int, int], law: Measurements, generator: torch.Generator) -> Tensor:
    accel = log_uniform(law.accelerations, generator)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    if kind in LINES:
        if kind != "random":
            accel = max(2, round(accel))
        centre = min(uniform(0.2, 0.45, generator) / accel, 0.9 / accel)
        # In a small matrix the centre must leave lines for the law to draw.
        centre = min(max(centre, 4 / shape[1]), (math.ceil(shape[1] / accel) - 1) / shape[1])
        mask = draw(kind, shape, accel, seed=seed, center_fraction=centre)
    elif kind == "poisson":
        side = round(uniform(8, 0.7 * (shape[0] * shape[1] / accel) ** 0.5, generator))
        mask = draw(kind, shape, accel, seed=seed, calibration=min(side, 24))
    else:
        mask = draw(kind, shape, accel, seed=seed)
    return torch.from_numpy(mask.array.copy()).float()


def _calibrated(full: Tensor, mask: Tensor) -> Tensor | None:
    """Return ESPIRiT maps of what was measured, or None where its centre is too small to calibrate on."""
    region = calibration_region(mask.numpy() > 0)
    if min(region) < EspiritSettings().kernel_width:
        return None
    maps = torch.from_numpy(espirit_maps(full.numpy(), mask.numpy() > 0)[0])
    return maps if maps.any() else None


def _as_estimated(maps: Tensor, image: Tensor, generator: torch.Generator) -> Tensor:
    """Return true maps, zero where the low-resolution object is dark."""
    if uniform(0, 1, generator) < 0.85:
        k = fft2c(image)
        y, x = k.shape
        side = round(uniform(12, 32, generator))
        window = torch.zeros_like(k, dtype=torch.float32)
        window[y // 2 - side // 2 : y // 2 + side // 2, x // 2 - side // 2 : x // 2 + side // 2] = 1
        low = ifft2c(k * window).abs()
        support = low > low.max() * log_uniform((0.01, 0.12), generator)
        maps = maps * support
    return maps
