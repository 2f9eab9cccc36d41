"""Slices of heads made from maps of many tissue classes: random contrast, partial volume, lesions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.training.chance import chance, smooth_field, uniform

__all__ = ["HeadSlice", "head_slices"]

CLASSES = 64
# Classes of the right half and those of the left that they are: found by volume and mirrored centre.
LEFT_OF = {21 + n: 1 + n for n in range(10)} | {
    31: 14, 32: 15, 33: 17, 34: 18, 35: 19, 36: 20, 41: 39, 42: 40,
}  # fmt: skip
EVERY = (4, 6, 6)  # slices along (last, first, middle) axis that are kept: neighbours are nearly the same
LEAST_HEAD = 0.15  # of a slice


@dataclass(frozen=True)
class HeadSlice:
    """A slice of tissue classes, uint8 (y, x); calling it gives a random image of it, float32.

    stretch: how much longer than wide a pixel of the last axis is.
    """

    classes: np.ndarray
    stretch: int

    def __call__(self, generator: torch.Generator) -> Tensor:
        values = torch.rand(CLASSES, generator=generator) * 0.9 + 0.1
        values[0] = 0
        if chance(0.7, generator):  # both halves of the head alike
            for right, left in LEFT_OF.items():
                values[right] = values[left]
        image = values[torch.from_numpy(self.classes).long()]
        side = uniform(0, 0.25, generator)
        kernel = torch.tensor([side, 1 - 2 * side, side])
        image = F.conv2d(image[None, None], (kernel[:, None] * kernel)[None, None], padding=1)
        if self.stretch > 1:
            size = (image.shape[-2], image.shape[-1] * self.stretch)
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        image = image[0, 0]
        shape = (image.shape[0], image.shape[1])
        image = image * (1 + uniform(0, 0.12, generator) * smooth_field(shape, 48, generator)).clamp_min(0)
        if chance(0.5, generator):
            image = with_lesions(image, generator)
        return image / image.flatten().kthvalue(int(0.99 * image.numel())).values.clamp_min(1e-3)


def with_lesions(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return the image (y, x) with 1 to 8 bent spots of other brightness inside the object."""
    inside = image.flatten().nonzero()[:, 0]
    if not len(inside):
        return image
    height, width = image.shape
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for _ in range(1 + int(torch.randint(8, (1,), generator=generator))):
        place = int(inside[int(torch.randint(len(inside), (1,), generator=generator))])
        radius, aspect = uniform(1.5, 12, generator), uniform(0.6, 1.6, generator)
        bend, level = uniform(-0.8, 0.8, generator), uniform(0, 1.3, generator)
        dy, dx = y - place // width, x - place % width
        distance = (dy * aspect) ** 2 + (dx / aspect) ** 2 + bend * dy * dx
        spot = (radius + 0.5 - distance.clamp_min(0).sqrt()).clamp(0, 1) * (image > 0)
        image = image + spot * (level - image) * uniform(0.5, 1, generator)
    return image


def head_slices(file: Path) -> list[HeadSlice]:
    """Return the slices of a file's `labels`, uint8 (y, x, every second slice), along all three axes.

    InputError where the file holds none.
    """
    with np.load(file, allow_pickle=False) as content:
        if "labels" not in content or content["labels"].ndim != 3 or content["labels"].max() >= CLASSES:
            raise InputError(
                f"{file} has no labels (y, x, slice) below {CLASSES}; leave it out of the pattern"
            )
        labels = content["labels"].astype(np.uint8)
    if not labels.any():
        return []
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(labels))
    labels = labels[box]
    found = []
    for axis, every in zip((2, 0, 1), EVERY, strict=True):
        for piece in np.moveaxis(labels, axis, 0)[every // 2 :: every]:
            if (piece > 0).mean() > LEAST_HEAD:
                # A margin of air: the box cuts the head at its very border.
                found.append(HeadSlice(np.pad(piece, 8 if axis == 2 else ((8, 8), (4, 4))), 1 + (axis != 2)))
    return found
