"""The image priors R_θ(x, τ): networks that remove noise of a known level, and know no measurement."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mrunfold.errors import InputError
from mrunfold.protocols import PriorSpec
from mrunfold.registry import Registry

__all__ = ["PRIORS", "Prior", "ResidualBlock", "build_prior", "make_prior"]

# Modules (x, τ) → x: x (*batch, channel, y, x), τ its noise (*batch,), as Prior has them.
PRIORS = Registry("prior", "mrunfold.priors", {"unet": "mrunfold.networks.prior:Prior"})

PHASE_BLUR = 5.0  # pixels: standard deviation of the Gaussian that finds the slow phase of a complex image
# The blur widens so far with the noise that its mean stays below a seventh of an image of height 1: local
# phases of noise would take from the network what only a mean over many pixels shows.
PHASE_NOISE = 2.0  # pixels for a noise level of 1


def slow_phase(x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos φ and sin φ, each (batch, y, x), of the phase of x blurred by a Gaussian; 0 where that is 0.

    x: real and imaginary parts (batch, 2, y, x); level: its noise (batch,), images of height about 1.
    Blurred on a grid four times as coarse, for speed.
    """
    # What pooling by 4 and interpolation blur by themselves, in pixels²: a box and a triangle of 4.
    own = (4**2 - 1) / 12 + 4**2 / 6
    width = ((PHASE_NOISE * level.to(x.dtype)).clamp_min(PHASE_BLUR) ** 2 - own) ** 0.5 / 4
    height, breadth = x.shape[-2:]
    # bfloat16 has three digits; the phase of an image needs more.
    with torch.autocast(x.device.type, enabled=False):
        coarse = F.avg_pool2d(F.pad(x, (0, -breadth % 4, 0, -height % 4)), 4)
        down, across = (_gaussian(coarse.shape[axis], width)[:, None] for axis in (-2, -1))
        blurred = down @ coarse @ across
        fine = F.interpolate(blurred, scale_factor=4.0, mode="bilinear")[..., :height, :breadth]
    size = fine.square().sum(dim=1).sqrt().clamp_min(torch.finfo(x.dtype).tiny)
    return fine[:, 0] / size, fine[:, 1] / size


def _gaussian(n: int, width: Tensor) -> Tensor:
    """Return blurs along an axis of n as matrices (batch, n, n), up to a factor; width: (batch,)."""
    place = torch.arange(n, dtype=width.dtype, device=width.device)
    apart = (place[:, None] - place).abs()
    width = width[:, None, None]
    return torch.exp(-0.5 * (apart / width) ** 2).where(apart <= (3 * width).ceil(), 0.0)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return (batch, 2, y, x) times e^{iφ}."""
    return torch.stack([x[:, 0] * cos - x[:, 1] * sin, x[:, 0] * sin + x[:, 1] * cos], dim=1)


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), 3×3, without normalisation or bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # In place: on a CPU, memory that is new costs more than the sum itself.
        return self.second(F.relu(self.first(x), inplace=True)).add_(x)


class Prior(nn.Module):
    """Residual U-Net denoiser R_θ(x, τ) ≈ E[x₀ | x₀ + τ·ε = x] for images of any size.

    kind: "complex" (each set of x is an image of its own: two real channels at the network's edge) or
    "real" (the channels of x go in together, `channels` of them); widths: features of each level, finest
    first; blocks: residual blocks a level and direction; fold: pixels are folded fold×fold into channels
    before the first convolution, as in FFDNet (Zhang et al., IEEE TIP 27 (2018), sec. III-A), which quarters
    the cost at fold = 2.

    The noise level is an input channel and no layer has a bias (as in DRUNet, Zhang et al., IEEE TPAMI 44
    (2022), sec. 3), so the prior scales with its input: R(a·x, a·τ) = a·R(x, τ) for a > 0, a complex one up
    to a·τ = 2.5.  A complex image is turned by its slow phase first and back afterwards, so that
    R(e^{iφ}·x, τ) = e^{iφ}·R(x, τ) too: anatomy is then nearly real, and no feature is spent on learning it
    at every phase.  The slow phase is that of the blurred image, as in homodyne detection (Noll et al., IEEE
    TMI 10 (1991)).
    """

    def __init__(
        self,
        kind: str = "complex",
        channels: int = 1,
        widths: tuple[int, ...] = (48, 80, 128),
        blocks: int = 2,
        fold: int = 2,
    ) -> None:
        super().__init__()
        if kind not in ("complex", "real"):
            raise InputError(f"a prior is for complex or real images, got {kind!r}")
        self.kind, self.channels, self.widths, self.blocks, self.fold = kind, channels, widths, blocks, fold
        edge = 2 if kind == "complex" else channels
        self.head = nn.Conv2d((edge + 1) * fold**2, widths[0], 3, padding=1, bias=False)
        stages = range(len(widths) - 1)
        self.down = nn.ModuleList(self._stage(widths[i]) for i in stages)
        self.shrink = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 2, 2, bias=False) for i in stages)
        self.body = self._stage(widths[-1])
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(widths[i + 1], widths[i], 2, 2, bias=False) for i in stages
        )
        self.up = nn.ModuleList(self._stage(widths[i]) for i in stages)
        self.tail = nn.Conv2d(widths[0], edge * fold**2, 3, padding=1, bias=False)
        self._initialise()

    def _stage(self, width: int) -> nn.Sequential:
        return nn.Sequential(*(ResidualBlock(width) for _ in range(self.blocks)))

    def _initialise(self) -> None:
        # Of a network that is loaded nothing is drawn, and trying to imports PyTorch's compiler, for 1 s.
        if self.head.weight.is_meta:
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                # Residual branches start small: without normalisation their sum would grow with depth.
                nn.init.normal_(module.second.weight, std=0.1 * (9 * module.second.in_channels) ** -0.5)
        nn.init.zeros_(self.tail.weight)
        # Channels last: twice as quick for narrow layers on CPUs with AVX2, and what tensor cores like.
        self.to(memory_format=torch.channels_last)

    @property
    def multiple(self) -> int:
        """Image sizes are padded to multiples of this inside."""
        return self.fold * 2 ** (len(self.widths) - 1)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Return the denoised x: (*batch, channel, y, x) → the same; tau: noise standard deviation (*batch,).

        Complex x: τ² = E|n|² (both parts together); any height and width.
        """
        real = self.kind == "real"
        if x.ndim < 3 or x.is_complex() == real or (real and x.shape[-3] != self.channels):
            wanted = "complex" if self.kind == "complex" else f"real {self.channels}-channel"
            raise InputError(f"this prior is for {wanted} images, got {tuple(x.shape)} {x.dtype}")
        shape = x.shape
        if self.kind == "complex":
            flat = torch.view_as_real(x).flatten(end_dim=-4).movedim(-1, 1)  # (batch·set, 2, y, x)
            level = tau[..., None].expand(shape[:-2]).reshape(-1)
        else:
            flat = x.flatten(end_dim=-4) if x.ndim > 3 else x[None]  # (batch, channel, y, x)
            level = tau.expand(shape[:-3]).reshape(-1)
        level = level.to(flat.dtype)
        if self.kind == "real":
            return (flat - self._noise(flat, level)).reshape(shape)
        cos, sin = slow_phase(flat.detach(), level.detach())
        clean = flat - _turn(self._noise(_turn(flat, cos, -sin), level), cos, sin)
        return torch.view_as_complex(clean.movedim(1, -1).contiguous()).reshape(shape)

    def _noise(self, x: Tensor, level: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        z = F.pad(x, pad, mode="replicate")
        plane = level[:, None, None, None].expand(-1, 1, *z.shape[-2:])
        z = F.pixel_unshuffle(torch.cat([z, plane], dim=1), self.fold)
        z = z.contiguous(memory_format=torch.channels_last)
        z = self.head(z)
        skips = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            z = stage(z)
            skips.append(z)
            z = shrink(z)
        z = self.body(z)
        for stage, grow, skip in zip(reversed(self.up), reversed(self.grow), reversed(skips), strict=True):
            z = stage(grow(z) + skip)
        return F.pixel_shuffle(self.tail(z), self.fold)[..., :height, :width]


def build_prior(spec: PriorSpec) -> nn.Module:
    """Return the untrained prior that a protocol describes; InputError where it cannot be made."""
    if spec.architecture is None:
        return Prior(**spec.model_dump(exclude={"architecture", "options"}))
    return make_prior(spec.architecture, **(spec.options or {}))


def make_prior(name: str, **options: Any) -> nn.Module:
    """Return the prior called `name`, one of PRIORS or package.module:Class, made with `options`."""
    try:
        prior = PRIORS.load(name)(**options)
    except TypeError as error:
        raise InputError(f"prior {name} cannot be made with {options}: {error}") from None
    if not isinstance(prior, nn.Module):
        raise InputError(f"prior {name} is no torch module (x, tau) → x")
    return prior
