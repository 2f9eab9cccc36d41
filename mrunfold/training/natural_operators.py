"""Random degradations to train on: an operator for each item."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mrunfold.operators import Identity, LinearOperator
from mrunfold.operators.imaging import (
    Blur,
    CircularBlur,
    CompressedSensing,
    Downsample,
    Inpaint,
    bicubic_kernel,
    box_kernel,
    gaussian_kernel,
    grey,
    motion_kernel,
)
from mrunfold.protocols import Degradations
from mrunfold.training.chance import uniform
from mrunfold.training.natural_images import PhotoBank, random_photo

__all__ = ["Measurement", "box_mask", "draw_measurement", "stroke_mask"]


def whole(low: int, high: int, generator: torch.Generator) -> int:
    """Return a random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=generator))


def box_mask(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return a mask (y, x), 0 in one to three boxes of 8 to 36 pixels a side."""
    mask = torch.ones(shape)
    for _ in range(whole(1, 3, generator)):
        height, width = (min(whole(8, 36, generator), n // 2) for n in shape)
        top, left = whole(0, shape[0] - height, generator), whole(0, shape[1] - width, generator)
        mask[top : top + height, left : left + width] = 0
    return mask


def stroke_mask(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return a mask (y, x), 0 along random strokes as of a pen or of letters."""
    y, x = torch.arange(shape[0])[:, None].float(), torch.arange(shape[1]).float()
    mask = torch.ones(shape)
    for _ in range(whole(4, 16, generator)):
        at = torch.rand(2, generator=generator) * torch.tensor(shape)
        angle, length = uniform(0, 2 * math.pi, generator), uniform(8, 48, generator)
        step = torch.tensor([math.sin(angle), math.cos(angle)])
        along = ((y - at[0]) * step[0] + (x - at[1]) * step[1]).clamp(0, length)
        distance = ((y - at[0] - along * step[0]) ** 2 + (x - at[1] - along * step[1]) ** 2).sqrt()
        mask[distance < uniform(0.6, 3, generator)] = 0
    return mask


def random_kernels(
    kind: str, degradations: Degradations, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a blur kernel and what it is taken for, which is at times a little off; sides at most 31."""
    off = uniform(0, 1, generator) < degradations.misjudged
    stretch = math.exp(uniform(-0.15, 0.15, generator)) if off else 1.0
    turn = uniform(-6, 6, generator) if off else 0.0
    angle = uniform(0, 180, generator)
    if kind == "motion":
        length = uniform(4, 24, generator)
        return motion_kernel(length, angle), motion_kernel(length * stretch, angle + turn)
    along = math.exp(uniform(math.log(0.5), math.log(4.0), generator))
    across = along if uniform(0, 1, generator) < 0.5 else max(along * uniform(0.3, 1, generator), 0.4)
    true = gaussian_kernel((along, across), angle=angle)
    return true, gaussian_kernel((along * stretch, across * stretch), angle=angle + turn)


@dataclass(frozen=True)
class Measurement:
    """A patch x (3, y, x), what is measured of it without noise, and the operator that this is taken for."""

    x: Tensor
    clean: Tensor
    A: LinearOperator


def draw_measurement(
    task: str, bank: PhotoBank, degradations: Degradations, shape: tuple[int, int], generator: torch.Generator
) -> Measurement:
    """Return a random measurement of a task (`protocols.Task`, or "nothing") on a patch of `shape` (y, x)."""
    if task in ("gaussian", "motion"):
        return _draw_blur(task, bank, degradations, shape, generator)
    A = draw_operator(task, shape, generator)
    x = random_photo(bank, degradations, shape, generator)
    return Measurement(x, A(x), A)


def _draw_blur(
    kind: str, bank: PhotoBank, degradations: Degradations, shape: tuple[int, int], generator: torch.Generator
) -> Measurement:
    kernel, told = random_kernels(kind, degradations, generator)
    if uniform(0, 1, generator) >= degradations.real_borders:
        x = random_photo(bank, degradations, shape, generator)
        return Measurement(x, CircularBlur(kernel, (3, *shape))(x), CircularBlur(told, (3, *shape)))
    ky, kx = kernel.shape[-2:]
    wide = (shape[0] + ky - 1, shape[1] + kx - 1)
    scene = random_photo(bank, degradations, wide, generator)
    inside = (..., slice(ky // 2, ky // 2 + shape[0]), slice(kx // 2, kx // 2 + shape[1]))
    clean = CircularBlur(kernel, (3, *wide))(scene)[inside]
    return Measurement(scene[inside].contiguous(), clean.contiguous(), Blur(told, (3, *shape)))


def draw_operator(task: str, shape: tuple[int, int], generator: torch.Generator) -> LinearOperator:
    """Return a random operator, other than a blur, on colour images of `shape` (y, x)."""
    if task == "denoise":
        return Identity((3, *shape), torch.float32)
    if task == "downsample":
        factor = (2, 4)[whole(0, 1, generator)]
        kernel = (bicubic_kernel if uniform(0, 1, generator) < 0.6 else box_kernel)(factor)
        return Downsample(kernel, factor, (3, *shape))
    if task == "box":
        return Inpaint(box_mask(shape, generator))
    if task == "random":
        return Inpaint(torch.rand(shape, generator=generator) < uniform(0.1, 0.8, generator))
    if task == "strokes":
        return Inpaint(stroke_mask(shape, generator))
    if task == "sensing":
        mask = torch.rand(shape, generator=generator) < uniform(0.1, 0.6, generator)
        signs = torch.randint(2, shape, generator=generator) * 2 - 1
        return CompressedSensing(mask, signs)
    if task == "grey":
        return grey(shape)
    if task == "nothing":
        return Inpaint(torch.zeros(shape))
    raise ValueError(f"no degradation for the task {task!r}")
