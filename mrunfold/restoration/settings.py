"""What a restoration is asked to do, and the operator that this means for an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrunfold.errors import InputError, did_you_mean
from mrunfold.io.images import read_kernel, read_mask
from mrunfold.operators import Identity, LinearOperator
from mrunfold.operators.imaging import (
    Blur,
    CircularBlur,
    CompressedSensing,
    Downsample,
    Inpaint,
    bicubic_kernel,
    box_kernel,
    disc_kernel,
    gaussian_kernel,
    grey,
    motion_kernel,
)
from mrunfold.operators.imaging.kernels import MAX_SIDE

__all__ = ["TASKS", "RestoreSettings", "blur_kernel", "drawn_mask", "restoration_operator"]

TASKS = ("denoise", "deblur", "upscale", "inpaint", "colourise", "sensing")
BORDERS = ("replicate", "circular")
# Kernels by name: what makes them of numbers, and what these are where none are given.
KERNELS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "gaussian": (lambda sigma, side: gaussian_kernel(sigma, int(side) or None), (1.6, 0.0)),
    "motion": (motion_kernel, (15.0, 0.0)),
    "disc": (disc_kernel, (3.0,)),
}
SHRINKING = {"bicubic": bicubic_kernel, "box": box_kernel}

# What unfold is given for photographs unless told otherwise.  Below 0.02 a sample's last steps put noise into
# flat areas and take none away.
PHOTOGRAPHS: dict[str, Any] = {
    "weights": "natural-compact",
    "steps": 8,
    "sigma_start": 0.3,
    "sigma_min": 0.02,
}


@dataclass(frozen=True)
class RestoreSettings:
    """A restoration's settings, checked as far as they can be without the image.

    task: one of TASKS; kernel: of deblur gaussian:σ:side, motion:length:degrees, disc:radius or a picture,
    of upscale bicubic, box or a picture; factor: of upscale; mask: of inpaint a picture, white where pixels
    are missing, or with `simulate` box:side, random:share; of sensing random:share; border: of deblur,
    "replicate" or "circular"; noise: σ for images from 0 to 1, None to estimate it; method, parameters: as
    `get_method`; simulate: the image is the truth, and is degraded first; seed: of noise and of samples.
    """

    task: str
    kernel: str | None = None
    factor: int = 2
    mask: str | None = None
    border: str = "replicate"
    noise: float | None = None
    method: str = "unfold"
    parameters: dict[str, Any] = field(default_factory=dict)
    simulate: bool = False
    seed: int = 0

    @property
    def method_parameters(self) -> dict[str, Any]:
        """All that `get_method` is given: `parameters`, and for unfold what photographs need."""
        return (PHOTOGRAPHS if self.method == "unfold" else {}) | self.parameters

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError(f"there is no task {self.task!r}{did_you_mean(self.task, TASKS)}")
        if self.border not in BORDERS:
            raise InputError(f"there is no border {self.border!r}{did_you_mean(self.border, BORDERS)}")
        if self.kernel is not None and self.task not in ("deblur", "upscale"):
            raise InputError(f"`kernel` is for deblur and upscale; leave it out of {self.task}")
        if self.mask is not None and self.task not in ("inpaint", "sensing"):
            raise InputError(f"`mask` is for inpaint and sensing; leave it out of {self.task}")
        if self.task == "deblur" and self.kernel is None:
            raise InputError(
                "deblur needs a kernel; add `kernel='motion:15:30'`, gaussian:1.6, disc:3 or FILE.png"
            )
        if self.task == "inpaint" and self.mask is None:
            raise InputError("inpaint needs a mask; add `mask='FILE.png'`, white where pixels are missing")
        if self.task == "sensing" and not self.simulate:
            raise InputError("sensing has no camera to come from; add `simulate`")
        if self.noise is not None and not 0 <= self.noise <= 1:
            raise InputError(f"`noise` is auto or a σ from 0 to 1, got {self.noise}")
        if self.simulate and self.noise is None:
            raise InputError("`simulate` adds noise; say how much, for example `noise=0.02`")
        if not 2 <= self.factor <= 8:
            raise InputError(f"`factor` is a whole number from 2 to 8, got {self.factor}")


def blur_kernel(text: str) -> Tensor:
    """Return the kernel of `gaussian:1.6`, `motion:15:30`, `disc:3` or a picture; InputError for others."""
    name, *numbers = text.split(":")
    if name not in KERNELS:
        if "." not in text and not Path(text).exists():
            raise InputError(f"there is no kernel {name!r}{did_you_mean(name, KERNELS)}; or name a picture")
        kernel = torch.from_numpy(read_kernel(Path(text)))
        if max(kernel.shape) > MAX_SIDE:
            raise InputError(f"the kernel {text} is {tuple(kernel.shape)}, at most {MAX_SIDE} pixels a side")
        return kernel
    make, defaults = KERNELS[name]
    values = _numbers(text, numbers, len(defaults))
    return make(*values, *defaults[len(values) :])


def _numbers(text: str, numbers: list[str], most: int) -> list[float]:
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise InputError(f"{text!r} is not a name and numbers, as motion:15:30") from None
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{text!r} has a number that is not finite")
    if len(values) > most:
        raise InputError(f"{text!r} has {len(values)} numbers, {text.split(':')[0]} takes {most}")
    return values


def drawn_mask(text: str, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return a mask (y, x): box:side misses squares two sides apart, random:share a share of the pixels."""
    name, *numbers = text.split(":")
    defaults = {"box": 32.0, "random": 0.7}
    if name not in defaults:
        raise InputError(f"there is no mask {name!r}{did_you_mean(name, defaults)}; or name a picture")
    value = (_numbers(text, numbers, 1) or [defaults[name]])[0]
    if name == "random":
        if not 0 <= value < 1:
            raise InputError(f"{text!r} misses a share of the pixels from 0 to below 1")
        return (torch.rand(size, generator=generator) >= value).float()
    side = int(value)
    if not 1 <= side < min(size):
        raise InputError(f"{text!r} must be smaller than the image, {size[0]}×{size[1]}")
    mask = torch.ones(size)
    for top in range(side, size[0] - side, 3 * side):
        for left in range(side, size[1] - side, 3 * side):
            mask[top : top + side, left : left + side] = 0
    return mask


def restoration_operator(
    settings: RestoreSettings, size: tuple[int, int], generator: torch.Generator
) -> LinearOperator:
    """Return the operator on colour images of `size` (y, x), the size of the restored image."""
    shape = (3, *size)
    if settings.task == "denoise":
        return Identity(shape, torch.float32)
    if settings.task == "deblur":
        kind = Blur if settings.border == "replicate" else CircularBlur
        return kind(blur_kernel(settings.kernel or ""), shape)
    if settings.task == "upscale":
        return Downsample(_shrinking_kernel(settings), settings.factor, shape)
    if settings.task == "inpaint":
        return Inpaint(_mask(settings.mask or "", size, settings.simulate, generator))
    if settings.task == "colourise":
        return grey(size)
    mask = drawn_mask(settings.mask or "random:0.7", size, generator)
    return CompressedSensing(mask, torch.randint(2, size, generator=generator) * 2 - 1)


def _shrinking_kernel(settings: RestoreSettings) -> Tensor:
    name = settings.kernel or "bicubic"
    if name in SHRINKING:
        return SHRINKING[name](settings.factor)
    kernel = blur_kernel(name)
    # Sides of the factor's parity: an odd kernel has its middle on a pixel, an even block between two.
    if settings.factor % 2 == 0:
        kernel = torch.nn.functional.avg_pool2d(kernel[None], 2, 1, padding=1, count_include_pad=True)[0]
    return kernel / kernel.sum()


def _mask(text: str, size: tuple[int, int], simulate: bool, generator: torch.Generator) -> Tensor:
    drawn = text.split(":")[0] in ("box", "random") and not Path(text).exists()
    if not drawn:
        return torch.from_numpy(read_mask(Path(text), size)).float()
    if not simulate:
        raise InputError(
            f"`mask={text}` is drawn at random, for `simulate`; name a picture of what is missing"
        )
    return drawn_mask(text, size, generator)
