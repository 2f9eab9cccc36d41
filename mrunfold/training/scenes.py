"""Random complex images made from the slices of a bank: contrast, placement, phase, sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.operators import fft2c, ifft2c
from mrunfold.protocols import Scanner
from mrunfold.training.chance import chance, log_uniform, smooth_field, uniform
from mrunfold.training.images import ImageBank, outline

__all__ = ["random_image", "random_scene", "sampled"]

FILLED = 0.1  # mean of an image's border, of its 99th percentile, above which the object goes on beyond it


def _contrast(image: Tensor, generator: torch.Generator) -> Tensor:
    """A random tone curve: a power, or a smooth curve through random heights that keeps 0 at 0."""
    if uniform(0, 1, generator) < 0.5:
        return image.clamp_min(0) ** uniform(0.6, 1.6, generator)
    heights = torch.rand(5, generator=generator) * 0.9 + 0.1
    heights[0] = 0
    x = image.clamp(0, 1.2) / 1.2 * 4
    low = x.floor().clamp(max=3).long()
    blend = x - low
    return heights[low] * (1 - blend) + heights[low + 1] * blend


def _placed(image: Tensor, shape: tuple[int, int], generator: torch.Generator, cut: bool = False) -> Tensor:
    """Turn, mirror, zoom and shift the image onto a grid somewhat finer than `shape`.

    cut: nearer and farther from the middle, so that the edges of the grid cut the object.
    """
    fine = tuple(2 * round(n * uniform(1.0, 1.6, generator) / 2) for n in shape)
    angle = (
        uniform(-math.pi, math.pi, generator)
        if uniform(0, 1, generator) < 0.5
        else uniform(-0.3, 0.3, generator)
    )
    # A slice shown larger than it was scanned is blurred: a prior that learns from it blurs detail.
    least = min(1.1, max(0.5, ((shape[0] * shape[1]) / (image.shape[0] * image.shape[1])) ** 0.5))
    zoom = math.exp(uniform(math.log(least), math.log(max(1.25, 1.4 * least)), generator))
    flip = 1.0 if uniform(0, 1, generator) < 0.5 else -1.0
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    if cut:
        zoom *= uniform(0.6, 1.0, generator)
    away = 0.5 if cut else 0.15
    dx, dy = uniform(-away, away, generator), uniform(-away, away, generator)
    # The grid's unit is half a field of view; lengths along x and y differ by the aspect ratios.
    ratio_out, ratio_in = fine[0] / fine[1], image.shape[0] / image.shape[1]
    theta = torch.tensor(
        [[flip * cos, flip * sin * ratio_out, dx], [-sin / ratio_in, cos * ratio_out / ratio_in, dy]]
    )
    grid = F.affine_grid(theta[None], [1, 1, *fine], align_corners=False)
    # What fills its slice goes on beyond it: cut there, it would end in a straight edge.
    beyond = "reflection" if cut and _goes_on(image) else "zeros"
    placed = F.grid_sample(image[None, None], grid, mode="bicubic", padding_mode=beyond, align_corners=False)
    return placed[0, 0].clamp_min(0)


def _goes_on(image: Tensor) -> bool:
    return float(torch.cat([image[0], image[-1], image[:, 0], image[:, -1]]).mean()) > FILLED


def _decay(fine: tuple[int, int], shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return what of the signal is left when each sample of k-space is taken, real (y, x), on the fine grid.

    Lines of an echo train, and samples of a readout, are taken one after the other while the signal decays:
    k-space is heavier on one side of its centre, and edges get a part that is out of phase with the tissue.
    exp(slope·u) an axis, u = ±1 at the edges of the sampled band.  In turbo spin echo images of heads slopes
    of 0.5 to 0.8 along the phase axis were found, and none along the readout.
    """
    weights = torch.ones(fine)
    if uniform(0, 1, generator) < 0.35:
        return weights
    steep = int(torch.randint(2, (1,), generator=generator))
    for axis in range(2):
        bound = 1.0 if axis == steep else 0.2
        u = ((torch.arange(fine[axis]) - fine[axis] // 2) / (shape[axis] / 2)).clamp(-1, 1)
        along = torch.exp(uniform(-bound, bound, generator) * u)
        weights = weights * (along[:, None] if axis == 0 else along)
    return weights


def random_image(bank: ImageBank, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return a random complex image (y, x), complex64, of 99th percentile about 1.

    A slice of the bank under a random tone curve, placement, bias field and smooth phase, sampled by a
    k-space window of `shape`, during which the signal decays, so that it rings as a scan of that matrix does.
    """
    image = _contrast(bank.draw(generator), generator)
    image = _placed(image, shape, generator)
    fine = (image.shape[0], image.shape[1])
    image = image * torch.exp(uniform(0, 0.35, generator) * smooth_field(fine, 3, generator))
    scene = torch.polar(image, _phase(image, generator))
    cropped = ifft2c(sampled(fft2c(scene), shape, generator))
    height = cropped.abs().flatten().kthvalue(max(1, int(0.99 * cropped.numel()))).values
    return cropped / height.clamp_min(1e-6) * uniform(0.8, 1.25, generator)


def random_scene(
    bank: ImageBank, shape: tuple[int, int], scanner: Scanner, generator: torch.Generator
) -> Tensor:
    """Return a random complex object (y, x) on a grid somewhat finer than `shape`, for coils to look at."""
    image, cut = _contrast(bank.draw(generator), generator), chance(scanner.cut, generator)
    if not cut and _goes_on(image):
        image = image * outline((image.shape[0], image.shape[1]), generator)
    image = _placed(image, shape, generator, cut)
    fine = (image.shape[0], image.shape[1])
    image = image * torch.exp(uniform(0, 0.35, generator) * smooth_field(fine, 3, generator))
    if chance(scanner.bright, generator):
        image = _with_bright_parts(image, generator)
    phase = _phase(image, generator)
    if chance(scanner.off_resonance, generator):
        phase = phase + _off_resonance(fine, scanner, generator)
    if not chance(scanner.fat_shift, generator):
        return torch.polar(image, phase)
    least = uniform(0.5, 0.9, generator)
    fat = image * ((image - least) / 0.1).clamp(0, 1)
    shift = 1 + int(torch.randint(6, (1,), generator=generator))
    turned = torch.polar(fat, phase + uniform(-math.pi, math.pi, generator))
    moved = torch.zeros_like(turned)
    if chance(0.5, generator):
        moved[shift:] = turned[:-shift]
    else:
        moved[:-shift] = turned[shift:]
    return torch.polar(image - fat, phase) + moved


def _off_resonance(shape: tuple[int, int], scanner: Scanner, generator: torch.Generator) -> Tensor:
    """Return a phase in radians (y, x) that turns quickly, in half of the draws most near the edges."""
    knots = round(uniform(3, 7, generator))
    field = log_uniform(scanner.off_resonance_phase, generator) * smooth_field(shape, knots, generator)
    if chance(0.5, generator):
        y, x = (torch.linspace(-1, 1, n) for n in shape)
        field = field * (0.2 + y[:, None] ** 2 + x**2)
    return field


def _with_bright_parts(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return the image with a rim, as of fat under the skin, or spots several times as bright as the rest."""
    shape = (image.shape[0], image.shape[1])
    if chance(0.6, generator):
        width = 2 * round(uniform(0.03, 0.14, generator) * min(shape) / 2) + 1
        inside = (image > 0.08).float()[None, None]
        # The share of the object around a pixel is about a half at its rim.
        around = F.avg_pool2d(inside, width, stride=1, padding=width // 2, count_include_pad=False)
        part = inside[0, 0] * (2 - 2 * around[0, 0] + 0.2 * smooth_field(shape, 12, generator)).clamp(0, 1)
    else:
        field = smooth_field(shape, round(uniform(4, 14, generator)), generator)
        part = ((field - uniform(0.8, 1.8, generator)) / 0.2).clamp(0, 1)
    return image * (1 + part * uniform(1, 7, generator))


def sampled(k: Tensor, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return the middle (…, *shape) of k-space (…, y, x), with what is left of the signal at each sample."""
    fine = (k.shape[-2], k.shape[-1])
    k = k * _decay(fine, shape, generator)
    top, left = (fine[0] // 2 - shape[0] // 2), (fine[1] // 2 - shape[1] // 2)
    return k[..., top : top + shape[0], left : left + shape[1]]


def _phase(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random phase in radians (y, x) for a magnitude image."""
    fine = (image.shape[0], image.shape[1])
    phase = uniform(0, 1.5, generator) * smooth_field(fine, 3, generator)
    if uniform(0, 1, generator) < 0.4:
        phase = phase + uniform(0, 0.6, generator) * smooth_field(fine, 9, generator)
    # Tissue has a phase of its own (susceptibility, chemical shift): without it in training, a prior learns
    # that anatomy is real but for a slow phase, and takes away what is not.
    if uniform(0, 1, generator) < 0.5:
        phase = phase + uniform(0, 0.35, generator) * smooth_field(fine, 24, generator)
    if uniform(0, 1, generator) < 0.5:
        phase = phase + uniform(-1, 1, generator) * image.clamp(max=1.2)
    ramp = torch.linspace(-1, 1, fine[0])[:, None] * uniform(-3, 3, generator) + torch.linspace(
        -1, 1, fine[1]
    ) * uniform(-3, 3, generator)
    return phase + ramp + uniform(-math.pi, math.pi, generator)
