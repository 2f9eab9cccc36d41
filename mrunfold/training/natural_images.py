"""Photographs to train on: a bank of files, and random patches of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.io.images import photo_size, read_photo
from mrunfold.operators.imaging.colour import LUMA
from mrunfold.protocols import Degradations, ImageSet
from mrunfold.training.chance import uniform

__all__ = ["PhotoBank", "random_photo"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoBank:
    """Files to draw from, read when they are drawn: sets outgrow memory.

    sets: one list of files a data set; weights: how often each set is drawn.
    """

    sets: tuple[tuple[Path, ...], ...]
    weights: tuple[float, ...]

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return one photograph at random, colour, (3, y, x) from 0 to 1."""
        which = int(torch.multinomial(torch.tensor(self.weights), 1, generator=generator))
        files = self.sets[which]
        pixels = read_photo(files[int(torch.randint(len(files), (1,), generator=generator))]).pixels
        return torch.from_numpy(pixels).expand(3, -1, -1)

    @staticmethod
    def load(root: Path, sets: Sequence[ImageSet], least_side: int) -> PhotoBank:
        """Find the sets below `root`, without files that are smaller than `least_side` pixels an axis.

        A set without a file, or with one that is no image, is an InputError.
        """
        found = tuple(_large_files(root, s, least_side) for s in sets)
        return PhotoBank(found, tuple(float(s.weight) for s in sets))


def _large_files(root: Path, spec: ImageSet, least_side: int) -> tuple[Path, ...]:
    files = sorted(root.glob(spec.pattern))
    if not files:
        raise InputError(
            f"no training images at {root / spec.pattern}; say where they are with `data=FOLDER`"
        )
    large = tuple(file for file in files if min(photo_size(file)) >= least_side)
    if not large:
        raise InputError(f"all images at {root / spec.pattern} are smaller than {least_side} pixels")
    if len(large) < len(files):
        log.warning("%d of %d images at %s are smaller than %d pixels and left out",
                    len(files) - len(large), len(files), root / spec.pattern, least_side)  # fmt: skip
    return large


def random_photo(
    bank: PhotoBank, degradations: Degradations, shape: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Return a random colour patch (3, y, x) of `shape`, from 0 to 1; at times three equal channels, grey.

    A photograph made smaller by a random zoom (which leaves JPEG's traces behind), cut, mirrored and turned
    by quarters.
    """
    image = bank.draw(generator)
    height, width = shape
    if uniform(0, 1, generator) < 0.5:
        height, width = width, height
    zoom = 1.0
    if uniform(0, 1, generator) < degradations.zoomed:
        zoom = math.exp(uniform(math.log(degradations.zoom[0]), math.log(degradations.zoom[1]), generator))
    rows, columns = min(round(height / zoom), image.shape[1]), min(round(width / zoom), image.shape[2])
    top = int(torch.randint(image.shape[1] - rows + 1, (1,), generator=generator))
    left = int(torch.randint(image.shape[2] - columns + 1, (1,), generator=generator))
    patch = image[:, top : top + rows, left : left + columns]
    if (rows, columns) != (height, width):
        patch = F.interpolate(
            patch[None], size=(height, width), mode="bicubic", align_corners=False, antialias=True
        )[0].clamp(0, 1)
    if (height, width) != shape:
        patch = patch.mT
    if uniform(0, 1, generator) < 0.5:
        patch = patch.flip(-1)
    if uniform(0, 1, generator) < 0.5:
        patch = patch.flip(-2)
    if uniform(0, 1, generator) < degradations.grey:
        luma = torch.einsum("c,cyx->yx", torch.tensor(LUMA), patch)
        patch = luma.expand(3, *shape)
    return patch.contiguous()
