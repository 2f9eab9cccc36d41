"""Both stages of training on photographs: the same losses, other images and operators."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.diffusion import complex_noise_like
from mrunfold.operators.imaging import Items
from mrunfold.protocols import Degradations, Stage, TrainingProtocol
from mrunfold.training.chance import log_uniform, uniform
from mrunfold.training.natural_images import PhotoBank, random_photo
from mrunfold.training.natural_operators import draw_measurement
from mrunfold.training.sampling import draw_size
from mrunfold.training.simulate import TrainingProblem
from mrunfold.training.stages import PriorStage, UnfoldStage

__all__ = ["NaturalPriorStage", "NaturalUnfoldStage", "draw_natural_problem"]


def draw_natural_problem(
    bank: PhotoBank, degradations: Degradations, stage: Stage, generator: torch.Generator
) -> TrainingProblem:
    """Return one random batch: one image size; task, operator, σ_y and σ_t of each item by themselves.

    Images are real, from 0 to 1, n ~ N(0, σ_y² I), scale 1.
    """
    shape = draw_size(stage.sizes, generator)
    tasks = [_draw_task(degradations, generator) for _ in range(stage.batch)]
    items = [draw_measurement(task, bank, degradations, shape, generator) for task in tasks]
    x = torch.stack([item.x for item in items])
    A = Items(tuple(item.A for item in items))
    sigma_y = torch.tensor([_draw_sigma_y(task, degradations, generator) for task in tasks])
    length = A.range.shape[0]
    y = torch.stack([F.pad(item.clean.flatten(), (0, length - item.clean.numel())) for item in items])
    noise = complex_noise_like(y, [generator] * stage.batch)
    y = torch.where(A.observed(), y + sigma_y[:, None] * noise, 0.0)
    sigma_t = torch.tensor(
        [
            math.inf
            if task != "nothing" and uniform(0, 1, generator) < degradations.mean_fraction
            else log_uniform(degradations.sigma_t, generator)
            for task in tasks
        ]
    )
    finite = sigma_t.where(sigma_t.isfinite(), torch.zeros(()))[:, None, None, None]
    x_t = x + finite * complex_noise_like(x, [generator] * stage.batch)
    return TrainingProblem(x, torch.where(finite > 0, x_t, torch.zeros_like(x)), sigma_t, y, A, sigma_y)


def _draw_task(degradations: Degradations, generator: torch.Generator) -> str:
    if uniform(0, 1, generator) < degradations.dropout:
        return "nothing"
    weights = torch.tensor(list(degradations.tasks.values()))
    return list(degradations.tasks)[int(torch.multinomial(weights, 1, generator=generator))]


def _draw_sigma_y(task: str, degradations: Degradations, generator: torch.Generator) -> float:
    if task == "denoise":
        return log_uniform(degradations.sigma_y_denoise, generator)
    usual = uniform(0, 1, generator) < degradations.usual_fraction
    return log_uniform(degradations.sigma_y_usual if usual else degradations.sigma_y, generator)


def _degradations(protocol: TrainingProtocol) -> Degradations:
    assert protocol.degradations is not None
    return protocol.degradations


class NaturalPriorStage(PriorStage):
    """Stage one on photographs, ε ~ N(0, I)."""

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        shape, degradations = draw_size(self.settings.sizes, generator), _degradations(self.protocol)
        x = torch.stack(
            [random_photo(self.bank, degradations, shape, generator) for _ in range(self.settings.batch)]
        )
        tau = torch.tensor([log_uniform(self.protocol.noise_levels, generator) for _ in range(len(x))])
        return x, tau, complex_noise_like(x, [generator] * len(x))


class NaturalUnfoldStage(UnfoldStage):
    """Stage two on photographs: every item of a batch has its own task."""

    def draw(self, generator: torch.Generator) -> Any:
        return draw_natural_problem(self.bank, _degradations(self.protocol), self.settings, generator)
