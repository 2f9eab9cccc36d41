"""One simulated scan with what scanners and calibration do to it, see `mrunfold.protocols.Scanner`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mrunfold.coils import EspiritSettings
from mrunfold.operators import fft2c, ifft2c
from mrunfold.protocols import Measurements, Scanner
from mrunfold.training.chance import chance, log_uniform, smooth_field, uniform
from mrunfold.training.estimated import as_estimated, calibrated
from mrunfold.training.images import ImageBank
from mrunfold.training.receive import random_sensitivities, resized
from mrunfold.training.sampling import draw_kind, draw_mask
from mrunfold.training.scanner import (
    displaced_lines,
    half_left_out,
    noise_and_whitening,
    random_window,
    with_spikes,
)
from mrunfold.training.scenes import random_scene, sampled

__all__ = ["Scan", "draw_scan", "folded"]

FURTHEST = 2  # pixels by which maps are displaced


@dataclass(frozen=True)
class Scan:
    """A scan before its scale is chosen.

    target: the fully sampled scan, noise included, combined with the maps, (set, y, x); rss: its root sum of
    squares over coils, real (1, y, x); measured: k-space (coil, y, x), zero where nothing was acquired; maps:
    those that A is given, (set, coil, y, x); mask: (y, x); sigma: the noise level that is told.
    """

    target: Tensor
    rss: Tensor
    measured: Tensor
    maps: Tensor
    mask: Tensor
    sigma: float


def draw_scan(
    bank: ImageBank,
    measurements: Measurements,
    shape: tuple[int, int],
    coils: int,
    kinds: tuple[str, ...],
    sets: int,
    generator: torch.Generator,
) -> Scan:
    """Return a random scan of a matrix `shape` with `coils` coils and `sets` sets of maps.

    Coil images are formed on a finer and, at times, wider grid than the matrix: the maps of the matrix's
    own pixels explain them as well, or as badly, as they do those of a scanner.
    """
    scanner = measurements.scanner or Scanner()
    k, sensitivities = _coil_images(bank, scanner, shape, coils, generator)
    sigma = log_uniform(measurements.sigma_y, generator)
    window, early = random_window(shape, scanner, generator), chance(0.5, generator)
    if window is not None and early:  # images that were filtered, then scanned
        k = k * window
    noise, whitening = noise_and_whitening(k, sigma, scanner, generator)
    full = k + noise
    if whitening is not None:
        full, sensitivities = (torch.einsum("cd,dyx->cyx", whitening, z) for z in (full, sensitivities))
    acquired = torch.ones(shape)
    if window is not None and not early:
        full, acquired = full * window, (window > 0).float()
        sigma *= float((window.square().sum() / acquired.sum()).sqrt())
    if chance(scanner.misjudged, generator):
        sigma *= log_uniform((1 / scanner.misjudged_by, scanner.misjudged_by), generator)
    if chance(measurements.dropout, generator):
        mask = torch.zeros(shape)
    else:
        kind = draw_kind(kinds, measurements, generator)
        mask = draw_mask(kind, shape, measurements, generator) * acquired
    half = half_left_out(shape, scanner, generator)
    if half is not None:
        mask = mask * half
    measured = with_spikes(displaced_lines(full, scanner, generator), mask, scanner, generator) * mask
    maps = _maps(measurements, measured, mask, sensitivities, k, sets, generator)
    images = ifft2c(full)
    rss = torch.linalg.vector_norm(images, dim=0, keepdim=True)
    return Scan((maps.conj() * images).sum(dim=1), rss, measured, maps, mask, sigma)


def _coil_images(
    bank: ImageBank, scanner: Scanner, shape: tuple[int, int], coils: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return k-space (coil, y, x) without noise, of height about 1, and the sensitivities of its pixels."""
    height, width = shape
    if chance(scanner.folded, generator):
        width = 2 * round(width * uniform(1.0, scanner.fold_extent, generator) / 2)
    scene = random_scene(bank, (height, width), scanner, generator)
    smooth = random_sensitivities(bank.coils, coils, scanner, generator)
    k = fft2c(resized(smooth, (scene.shape[0], scene.shape[1])) * scene)
    k = sampled(k, (height, width), generator)
    if width > shape[1]:
        k = fft2c(folded(ifft2c(k), shape[1]))
    rss = ifft2c(k).abs().square().sum(dim=0).sqrt().flatten()
    top = rss.kthvalue(max(1, int(0.99 * rss.numel()))).values.clamp_min(1e-6)
    first = width // 2 - shape[1] // 2
    sensitivities = resized(smooth, (height, width))[..., first : first + shape[1]]
    return k / top * uniform(0.8, 1.25, generator), sensitivities


def folded(images: Tensor, width: int) -> Tensor:
    """Return images (…, y, x) as a field of view of `width` shows them: what lies outside folds over."""
    wide = images.shape[-1]
    place = (torch.arange(wide) - wide // 2 + width // 2) % width
    return images.new_zeros(*images.shape[:-1], width).index_add_(-1, place, images)


def _maps(
    measurements: Measurements,
    measured: Tensor,
    mask: Tensor,
    sensitivities: Tensor,
    k: Tensor,
    sets: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the maps (set, coil, y, x): from what was measured, or the true ones with errors."""
    scanner = measurements.scanner or Scanner()
    if len(measured) == 1:
        return torch.ones(1, *measured.shape, dtype=measured.dtype)
    uncropped = chance(scanner.uncropped, generator)
    further = 0.0 if uncropped and chance(0.5, generator) else EspiritSettings().further_crop
    crop = 0.0 if uncropped else EspiritSettings().crop
    if chance(measurements.calibrated, generator) and mask.any():
        found = calibrated(measured, mask, EspiritSettings(sets=sets, crop=crop, further_crop=further))
        if found is not None:
            return found
    if chance(scanner.map_errors, generator):
        sensitivities = _with_errors(sensitivities, generator)
    norm = sensitivities.abs().square().sum(dim=0).sqrt().clamp_min(1e-12)
    maps = sensitivities / norm
    if not uncropped:
        rss = ifft2c(k).abs().square().sum(dim=0).sqrt()
        maps = as_estimated(maps, rss.to(maps.dtype), generator)
    return torch.cat([maps[None], torch.zeros_like(maps)[None].expand(sets - 1, -1, -1, -1)])


def _with_errors(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return maps (coil, y, x) of another scan: displaced by pixels, with phases a little wrong."""
    coils, height, width = maps.shape
    top, left = (int(torch.randint(2 * FURTHEST + 1, (1,), generator=generator)) for _ in range(2))
    wider = resized(maps, (height + 2 * FURTHEST, width + 2 * FURTHEST))
    wrong = uniform(0, 0.2, generator)
    phase = torch.stack([smooth_field((height, width), 3, generator) for _ in range(coils)])
    moved = wider[:, top : top + height, left : left + width]
    return moved * torch.polar(torch.ones_like(phase), wrong * phase)
