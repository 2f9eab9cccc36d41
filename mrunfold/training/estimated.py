"""Coil maps as a reconstruction has them: estimated from what was measured, or true with their faults."""

from __future__ import annotations

import torch
from torch import Tensor

from mrunfold.coils import EspiritSettings, espirit_maps
from mrunfold.masks import calibration_region
from mrunfold.operators import fft2c, ifft2c
from mrunfold.training.chance import log_uniform, uniform

__all__ = ["as_estimated", "calibrated"]


def calibrated(full: Tensor, mask: Tensor, settings: EspiritSettings | None = None) -> Tensor | None:
    """Return ESPIRiT maps (set, coil, y, x) of what was measured, or None where its centre is too small."""
    settings = settings or EspiritSettings()
    region = calibration_region(mask.numpy() > 0)
    if min(region) < settings.kernel_width:
        return None
    maps = torch.from_numpy(espirit_maps(full.numpy(), mask.numpy() > 0, settings))
    return maps if maps.any() else None


def as_estimated(maps: Tensor, image: Tensor, generator: torch.Generator) -> Tensor:
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
