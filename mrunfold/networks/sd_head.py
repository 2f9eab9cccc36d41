"""The standard deviation of the posterior mean, predicted in one evaluation of a small network."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mrunfold.networks.posterior import Path
from mrunfold.operators import LinearOperator
from mrunfold.protocols import SdSpec

__all__ = ["Evidence", "SdHead", "evidence"]

# Of the image's height: below, what is seen is rounding and not evidence.
FLOOR = 1e-3
# What each image of `evidence` is about, relative to the height, so that its logarithm is about 0.
USUAL = (0.3, 0.05, 0.01, 0.01, 0.01, 0.02, 0.01, 0.1)
FIRST_GUESS = 0.03  # SD before any training, relative to the height
BOUNDS = (-9.0, 2.0)  # of log(SD/height)


@dataclass(frozen=True)
class Evidence:
    """The inputs of the head: images and numbers that come from the computation of the mean.

    images: magnitudes (*batch, 8, y, x), sets of maps together by their root sum of squares; height: of the
    image (*batch,); numbers: (*batch, 6), unitless.
    """

    images: Tensor
    height: Tensor
    numbers: Tensor


def _size(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-3)


def evidence(path: Path, A: LinearOperator, sigma_y: Tensor) -> Evidence:
    """Return the head's inputs from the network's intermediate results; m: its output (*batch, set, y, x).

    The images, in this order: |m|; |m − x_0|, what the network changed of the first solve; |m − m_1|, what
    further evaluations changed; of the last block |m − x_{K−1}|, |z_{K−1} − x_{K−1}| and |m − z_{K−1}|: what
    it, its prior and its data consistency changed; |Aᴴ(y − A m)|, what is left of the measurement; and
    |m − AᴴA m|, what the mask hides or folds.  All scale with the image.  The numbers are logarithms of
    σ_y over the height, measured fraction, samples for each unknown, misfit, precision ρ; and evaluations.
    """
    mean, seen = path.last, A.normal(path.last) if path.seen is None else path.seen
    images = torch.stack(
        [
            _size(mean),
            _size(mean - path.start),
            _size(mean - path.first),
            _size(mean - path.before),
            _size(path.prior - path.before),
            _size(mean - path.prior),
            _size(path.back - seen),
            _size(mean - seen),
        ],
        dim=-3,
    )
    square = images[..., 0, :, :].square().flatten(start_dim=-2)
    # As high as the bright part is, however much air is around it.
    height = (square.square().sum(-1) / square.sum(-1).clamp_min(1e-30)).sqrt().clamp_min(1e-12)
    numbers = torch.stack(
        [
            (sigma_y / height).clamp(1e-4, 1.0).log() + 4.0,
            path.fraction.clamp(1e-3, 1.0).log() + 1.5,
            path.samples.clamp(1e-3, 100.0).log() / 2,
            path.misfit.clamp(0.1, 100.0).log() / 2,
            path.rho.clamp(1.0, 1e5).log() / 3 - 2,
            path.evaluations.to(height) - 2.5,
        ],
        dim=-1,
    )
    return Evidence(images, height, numbers)


class _Even(nn.Module):
    """A 3×3 convolution whose kernel is symmetric along both axes."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.quarter = nn.Parameter(torch.empty(out, features, 2, 2))
        nn.init.normal_(self.quarter, std=(2 / (9 * features)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.quarter[..., [1, 0, 1], :]
        return F.conv2d(x, rows[..., [1, 0, 1]], padding=1)


class _Block(nn.Module):
    """x + conv(ReLU(conv(x) + shift)), the shift from the numbers."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.first, self.second = _Even(width, width), _Even(width, width)
        self.shift = nn.Linear(numbers, width)
        nn.init.zeros_(self.second.quarter)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        inside = self.first(x) + self.shift(numbers)[..., None, None]
        return x + self.second(F.relu(inside))


class SdHead(nn.Module):
    """A small U-Net that predicts the standard deviation of |x₀| given y, from `evidence`.

    The logarithm of SD over height is a sum of the logarithms of the images over height, with weights that a
    U-Net at half their resolution finds for each place (as Gharbi et al., ACM Trans. Graph. 36 (2017), let
    a coarse network choose how fine pixels are changed).  So SD scales with the image: a·y and a·σ_y give
    a·SD.  Kernels are even and so are pooling and interpolation: an image that is turned over along an axis
    whose length `multiple` divides has its SD turned over.
    widths: features of each level, finest first; blocks: residual blocks a level and direction.
    """

    usual: Tensor

    def __init__(self, widths: tuple[int, ...] = (32, 48), blocks: int = 1) -> None:
        super().__init__()
        terms, numbers = len(USUAL) + 1, 6
        self.register_buffer("usual", torch.tensor(USUAL)[:, None, None], persistent=False)
        self.head = _Even(terms, widths[0])
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(_stage(w, numbers, blocks) for w in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairs)
        self.body = _stage(widths[-1], numbers, blocks)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up = nn.ModuleList(_stage(w, numbers, blocks) for w in widths[:-1])
        self.tail = nn.Conv2d(widths[0], terms + 1, 1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    @property
    def multiple(self) -> int:
        """Image sizes are padded to multiples of this inside."""
        return 2 ** (1 + len(self.shrink))

    @classmethod
    def from_spec(cls, spec: SdSpec) -> SdHead:
        """Build the untrained head that a protocol describes."""
        return cls(spec.widths, spec.blocks)

    def forward(self, given: Evidence) -> Tensor:
        """Return the standard deviation (*batch, y, x), in the units of the images."""
        batch = given.height.shape
        height = given.height.reshape(-1)
        images = given.images.reshape(-1, *given.images.shape[-3:]) / height[:, None, None, None]
        numbers = given.numbers.reshape(-1, given.numbers.shape[-1])
        logs = ((images + FLOOR) / (self.usual + FLOOR)).log()
        found = self._log_sd(torch.cat([logs, images[:, :1]], dim=1), numbers).float()
        sd = height[:, None, None] * found.clamp(*BOUNDS).exp()
        return sd.reshape(*batch, *images.shape[-2:])

    def _log_sd(self, terms: Tensor, numbers: Tensor) -> Tensor:
        height, width = terms.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        z = self.head(F.avg_pool2d(F.pad(terms, pad, mode="replicate"), 2))
        skips = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            z = _through(stage, z, numbers)
            skips.append(z)
            z = shrink(F.avg_pool2d(z, 2))
        z = _through(self.body, z, numbers)
        for stage, grow, skip in zip(reversed(self.up), reversed(self.grow), reversed(skips), strict=True):
            z = _through(stage, _twice(grow(z)) + skip, numbers)
        weights = _twice(self.tail(z))[..., :height, :width]
        return (weights[:, :-1] * terms).sum(dim=1) + weights[:, -1] + math.log(FIRST_GUESS)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _stage(width: int, numbers: int, blocks: int) -> nn.ModuleList:
    return nn.ModuleList(_Block(width, numbers) for _ in range(blocks))


def _through(stage: Any, x: Tensor, numbers: Tensor) -> Tensor:
    for block in stage:
        x = block(x, numbers)
    return x
