"""Simulated multicoil measurements to train on, through the same units as real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from mrunfold.diffusion import complex_noise_like
from mrunfold.operators import LinearOperator, Sense, fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import rescale
from mrunfold.protocols import Blind, Measurements, Scanner, Stage
from mrunfold.training.chance import chance, log_uniform, uniform
from mrunfold.training.estimated import as_estimated, calibrated
from mrunfold.training.images import ImageBank
from mrunfold.training.raw import draw_raw
from mrunfold.training.sampling import LINES, POINTS, draw_kind, draw_mask, draw_size
from mrunfold.training.scans import draw_scan
from mrunfold.training.scenes import random_image

__all__ = ["TrainingProblem", "draw_problem"]


@dataclass(frozen=True)
class TrainingProblem:
    """A batch of y = A x + n with a diffusion state, in the units of Problem.

    x: target (batch, 1, y, x); x_t: state, zero where sigma_t = ∞; sigma_t, sigma_y: (batch,);
    y: (batch, coil, y, x); A: its operator; fed_back: integer (), network evaluations whose mean the items
    with σ_t = ∞ are to begin at, 0 for none; rss: root sum of squares of the full data's coils, real
    (batch, 1, y, x), of scans that `Scanner` describes, else None.
    """

    x: Tensor
    x_t: Tensor
    sigma_t: Tensor
    y: Tensor
    A: LinearOperator
    sigma_y: Tensor
    fed_back: Tensor = field(default_factory=lambda: torch.tensor(0))
    rss: Tensor | None = None

    def to(self, device: torch.device | str) -> TrainingProblem:
        held: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: value.to(device) for n, value in held.items() if value is not None}
        return TrainingProblem(**moved)


def draw_problem(
    bank: ImageBank, measurements: Measurements, stage: Stage, generator: torch.Generator
) -> TrainingProblem:
    """Return one random batch: one matrix size, coil number and mask dimension; all else per item."""
    if measurements.blind is not None and uniform(0, 1, generator) < measurements.blind.share:
        return _draw_blind(bank, measurements, measurements.blind, generator)
    sizes, count = stage.sizes, stage.batch
    if measurements.large is not None and chance(measurements.large.share, generator):
        sizes, count = measurements.large.sizes, measurements.large.batch
    shape = draw_size(sizes, generator)
    coils = round(log_uniform((measurements.coils[0], measurements.coils[1]), generator))
    points = 0.5 if measurements.points is None else measurements.points
    kinds = POINTS if uniform(0, 1, generator) >= 1 - points else LINES
    scans = bank.scans(generator)
    if scans:
        x, y, A, sigma_y = draw_raw(scans, measurements, (sizes, kinds, count), generator)
        return _with_state(x, y, A, sigma_y, measurements, generator)
    if measurements.scanner is not None:
        return _draw_scanned(
            bank, measurements, measurements.scanner, (shape, coils, kinds, count), generator
        )
    items = [_draw_item(bank, measurements, shape, coils, kinds, generator) for _ in range(count)]
    full, maps, mask, sigma = (torch.stack([item[i] for item in items]) for i in range(4))
    measured = mask[:, None] * full
    A = Sense(maps[:, None], mask)
    # The target is what the fully sampled scan, combined with these maps, would have shown: with its noise.
    x = (maps.conj() * ifft2c(full)).sum(dim=1, keepdim=True)
    y, sigma_y, scale = rescale(measured, A, sigma)
    return _with_state(x / scale[:, None, None, None], y, A, sigma_y, measurements, generator)


def _draw_scanned(
    bank: ImageBank,
    measurements: Measurements,
    scanner: Scanner,
    plan: tuple[tuple[int, int], int, tuple[str, ...], int],
    generator: torch.Generator,
) -> TrainingProblem:
    """Return a batch of scans with all that scanners do; plan: matrix, coils, kinds of masks, items."""
    shape, coils, kinds, count = plan
    sets = 2 if coils > 1 and chance(scanner.two_sets, generator) else 1
    scans = [draw_scan(bank, measurements, shape, coils, kinds, sets, generator) for _ in range(count)]
    A = Sense(torch.stack([s.maps for s in scans]), torch.stack([s.mask for s in scans]))
    sigma = torch.tensor([s.sigma for s in scans])
    y, sigma_y, scale = rescale(torch.stack([s.measured for s in scans]), A, sigma)
    x = torch.stack([s.target for s in scans])
    height = torch.tensor(
        [
            log_uniform(scanner.heights, generator) if chance(scanner.rescaled, generator) else 1.0
            for _ in scans
        ]
    )
    item = (slice(None), None, None, None)
    drawn = _with_state(
        x * (height / scale)[item], y * height[item], A, sigma_y * height, measurements, generator
    )
    return replace(drawn, rss=torch.stack([s.rss for s in scans]) * (height / scale)[item])


def _with_state(
    x: Tensor, y: Tensor, A: Sense, sigma_y: Tensor, measurements: Measurements, generator: torch.Generator
) -> TrainingProblem:
    """Return the problem with a diffusion state for part of its items."""
    sigma_t = torch.tensor(
        [
            math.inf
            if mask.any() and uniform(0, 1, generator) < measurements.mean_fraction
            else log_uniform(measurements.sigma_t, generator)
            for mask in A.mask
        ]
    )
    finite = sigma_t.where(sigma_t.isfinite(), torch.zeros(()))[:, None, None, None]
    x_t = x + finite * complex_noise_like(x, [generator] * len(x))
    x_t = torch.where(finite > 0, x_t, torch.zeros_like(x))
    evaluations = int(measurements.fed_back is not None and chance(measurements.fed_back, generator))
    if evaluations and measurements.fed_back_passes:
        evaluations += int(torch.randint(measurements.fed_back_passes, (1,), generator=generator))
    fed_back = torch.tensor(evaluations)
    return TrainingProblem(x, x_t, sigma_t, y, A, sigma_y, fed_back)


def _draw_blind(
    bank: ImageBank, measurements: Measurements, blind: Blind, generator: torch.Generator
) -> TrainingProblem:
    """Return a batch of which nothing is measured: images as a single coil that sees all shows them."""
    shape, count = draw_size(blind.sizes, generator), blind.batch
    images = torch.stack([random_image(bank, shape, generator) for _ in range(count)])[:, None]
    sigma_y = torch.tensor([log_uniform(measurements.sigma_y, generator) for _ in range(count)])
    draws = [generator] * count
    x = images + sigma_y[:, None, None, None] * complex_noise_like(images, draws)
    sigma_t = torch.tensor([log_uniform(blind.sigma_t, generator) for _ in range(count)])
    x_t = x + sigma_t[:, None, None, None] * complex_noise_like(x, draws)
    A = Sense(torch.ones(1, 1, *shape, dtype=x.dtype), torch.zeros(shape))
    return TrainingProblem(x, x_t, sigma_t, torch.zeros_like(x), A, sigma_y)


def _draw_item(
    bank: ImageBank,
    measurements: Measurements,
    shape: tuple[int, int],
    coils: int,
    kinds: tuple[str, ...],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return full k-space with its noise and the maps that A is given (coil, y, x), mask (y, x) and σ."""
    image = random_image(bank, shape, generator)
    maps = simulated_maps(coils, shape, generator)
    full = fft2c(maps * image)
    sigma = torch.tensor(log_uniform(measurements.sigma_y, generator))
    full = full + sigma * complex_noise_like(full[None], [generator])[0]
    if uniform(0, 1, generator) < measurements.dropout:
        return full, maps, torch.zeros(shape), sigma
    kind = draw_kind(kinds, measurements, generator)
    mask = draw_mask(kind, shape, measurements, generator)
    if coils > 1:
        found = calibrated(full, mask) if uniform(0, 1, generator) < measurements.calibrated else None
        maps = as_estimated(maps, image, generator) if found is None else found[0]
    return full, maps, mask, sigma
