"""What the compiled posterior mean computes: the same network, an operator that can be traced."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mrunfold.networks.posterior import PASS_END, SIGMA_OF_MEAN, PosteriorDenoiser
from mrunfold.operators import Sense
from mrunfold.operators.sense import MOST_COILS
from mrunfold.solvers import Solution, Start

__all__ = ["Mean", "no_deprecation", "trace"]


# The functions of this block are compiled by TorchScript, so that what they decide (axes, chunks, ranks)
# is decided for each input and not for the example that is traced.


def _expand(x: Tensor, maps: Tensor) -> Tensor:
    if maps.shape[-4] == 1:
        return maps.squeeze(-4) * x
    return (maps * x.unsqueeze(-3)).sum(dim=-4)


def _combine(conjugates: Tensor, maps: Tensor) -> Tensor:
    conjugates = conjugates.unsqueeze(-4)
    total = maps[..., 0, :, :] * conjugates[..., 0, :, :]
    for c in range(1, maps.shape[-3]):
        total.addcmul_(maps[..., c, :, :], conjugates[..., c, :, :])
    return total


def _weights(mask: Tensor) -> Tensor:
    """mask², uncentred, of extent 1 along an axis on which no item's mask varies."""
    axes: list[int] = []
    for axis in [-2, -1]:
        first = mask.narrow(axis, 0, 1)
        if bool((mask == first).all()):
            mask = first
        else:
            axes.append(axis)
    if len(axes) > 0:
        mask = torch.fft.ifftshift(mask, dim=axes)
    return (mask * mask).contiguous()


def _phases(maps: Tensor) -> Tensor:
    """mrunfold.operators.fourier.centring for the size of the maps."""
    ramps: list[Tensor] = []
    for n in maps.shape[-2:]:
        place, c = torch.arange(n, dtype=torch.float64), n // 2
        turns = torch.remainder(2 * c * place - c * c, 2 * n) / (2 * n)
        ramps.append(torch.polar(torch.ones_like(turns), 2 * 3.141592653589793 * turns))
    return (ramps[0].unsqueeze(-1) * ramps[1]).to(maps.dtype)


def _conjugating(weights: Tensor) -> Tensor:
    """What real and imaginary parts are multiplied by, ±weights (…, 1, y, x, 2): mrunfold.operators.Sense."""
    return torch.stack([weights, -weights], dim=-1).unsqueeze(-4)


def _normal(x: Tensor, maps: Tensor, conjugating: Tensor, chunk: int) -> Tensor:
    """AᴴA x, transformed only along the axes on which the weights vary."""
    axes: list[int] = []
    for axis in [-2, -1]:
        if conjugating.shape[axis - 1] > 1:
            axes.append(axis)
    total = torch.zeros_like(x)
    start, coils = 0, maps.shape[-3]
    chunk = max(1, min(chunk, 2 * chunk // x.shape[0]))
    while start < coils:
        while start + chunk > coils:
            chunk = chunk // 2
        part = maps[..., start : start + chunk, :, :]
        images = _expand(x, part)
        if len(axes) > 0:
            images = torch.fft.fftn(images, dim=axes, norm="ortho")
        torch.view_as_real(images).mul_(conjugating)
        if len(axes) > 0:
            images = torch.fft.fftn(images, dim=axes, norm="ortho")
        total = total + _combine(images, part)
        start += chunk
    return total.conj_physical_()


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Re⟨a, b⟩ over (set, y, x), per slice: mrunfold.solvers.inner."""
    return (torch.view_as_real(a) * torch.view_as_real(b)).flatten(start_dim=-4).sum(dim=-1)


def _solve(
    maps: Tensor, conjugating: Tensor, chunk: int, rhs: Tensor, weight: Tensor, shift: Tensor,
    x0: Tensor, normal_x0: Tensor, warm: bool, tolerance: Tensor, steps: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """mrunfold.solvers.conjugate_gradient on `_normal`, from x0 if `warm`, else from zero: the same steps,
    and the same end, each slice at its own residual and all at the last one's; and AᴴA of the solution."""
    a, b = weight.reshape(-1, 1, 1, 1), shift.reshape(-1, 1, 1, 1)
    norm = _inner(rhs, rhs)
    x, nx, r = torch.zeros_like(rhs), torch.zeros_like(rhs), rhs
    if warm:
        some = (norm > 0).reshape(-1, 1, 1, 1)
        x, nx = torch.where(some, x0, x), torch.where(some, normal_x0, nx)
        r = rhs - (a * nx + b * x)
    p = r
    rr = _inner(r, r)
    stop = tolerance * tolerance * norm
    active = rr > stop
    none, one = torch.zeros_like(rr), torch.ones_like(rr)
    for _ in range(steps):
        if not bool(active.any()):
            break
        n_p = _normal(p, maps, conjugating, chunk)
        q = a * n_p + b * p
        curvature = _inner(p, q)
        alpha = torch.where(active, rr / torch.where(active, curvature, one), none)
        x = x + alpha.reshape(-1, 1, 1, 1) * p
        nx = nx + alpha.reshape(-1, 1, 1, 1) * n_p
        r = r - alpha.reshape(-1, 1, 1, 1) * q
        after = _inner(r, r)
        beta = torch.where(active, after / torch.where(active, rr, one), none)
        p = r + beta.reshape(-1, 1, 1, 1) * p
        rr = torch.where(active, after, rr)
        active = active & (rr > stop)
    return x, nx


def _scale(image: Tensor) -> Tensor:
    """The scale of mrunfold.problem.rescale: 99th percentile of |Aᴴy| per item, 1 where that is 0."""
    magnitude = image.abs().flatten(start_dim=1)
    rank = max(1, int(round(0.99 * magnitude.shape[1])))  # noqa: RUF046  TorchScript rounds to a float
    scale = torch.kthvalue(magnitude, rank, dim=1)[0]
    return torch.where(scale > 0, scale, torch.ones_like(scale))


class _Scripted(NamedTuple):
    expand: Any
    combine: Any
    weights: Any
    conjugating: Any
    phases: Any
    normal: Any
    solve: Any
    scale: Any


@lru_cache(maxsize=1)
def _scripted() -> _Scripted:
    with no_deprecation():
        functions = (_expand, _combine, _weights, _conjugating, _phases, _normal, _solve, _scale)
        return _Scripted(*(torch.jit.script(f) for f in functions))


class no_deprecation(warnings.catch_warnings):
    """Without PyTorch's advice to use torch.export: docs/runtime.md says why it is not followed."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", FutureWarning)
        # A trace warns of each Python decision; `export_mean` runs the file at other sizes instead.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)


class _TracedSense(Sense):
    """Sense without what a trace cannot hold: checks of shapes, autograd functions; its solve is scripted.

    Here everything has one batch axis, slices; mask: (slice, y, x), 0 or 1.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "_weights", _scripted().weights(self.mask))
        object.__setattr__(self, "_conjugating", _scripted().conjugating(self._weights))
        object.__setattr__(self, "_phases", _scripted().phases(self.maps))
        object.__setattr__(self, "_centred_mask", self.mask[:, None] * self._phases)

    def chunks(self) -> list[slice]:
        return [slice(None)]

    def _expand(self, x: Tensor, maps: Tensor) -> Tensor:
        return _scripted().expand(x, maps)

    def _combine(self, conjugates: Tensor, maps: Tensor) -> Tensor:
        return _scripted().combine(conjugates, maps)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x)

    __call__ = forward

    def adjoint(self, y: Tensor) -> Tensor:
        return self._adjoint(y)

    def normal(self, x: Tensor) -> Tensor:
        return _scripted().normal(x, self.maps, self._conjugating, MOST_COILS)

    def solve_with_statistics(
        self, rhs, weight, shift, x0=None, *, tolerance=1e-5, max_iterations=100, gradient="implicit"
    ) -> Solution:
        """As Sense has it, from nothing or from a Start; the steps and the residual are not told."""
        tolerance = torch.as_tensor(tolerance)
        start = Start(rhs, rhs) if x0 is None else x0
        given = rhs, weight, shift, start.x, start.normal, x0 is not None, tolerance, max_iterations
        fixed = self.maps, self._conjugating, MOST_COILS
        x, normal = _scripted().solve(*fixed, *given)
        untold = torch.zeros(len(rhs))
        return Solution(x, untold, untold, untold, normal)


class _Units(nn.Module):
    """The samples in the units of the network: mrunfold.problem.rescale."""

    def forward(
        self, kspace: Tensor, maps: Tensor, mask: Tensor, sigma: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return y, the mask of 0 and 1, sigma_y and the scale."""
        sampled = mask != 0
        y = torch.where(sampled[:, None], kspace, torch.zeros_like(kspace))
        ones = sampled.to(sigma.dtype)
        scale = _scripted().scale(_TracedSense(maps, ones).adjoint(y))
        return y / scale[:, None, None, None], ones, sigma / scale, scale


class _First(nn.Module):
    """The first evaluation of the mean."""

    def __init__(self, network: PosteriorDenoiser) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Tensor, maps: Tensor, mask: Tensor, sigma_y: Tensor) -> Tensor:
        return self.network(None, torch.full_like(sigma_y, torch.inf), y, _TracedSense(maps, mask), sigma_y)


class _Further(_First):
    """An evaluation that begins at the mean before."""

    def forward(self, y: Tensor, maps: Tensor, mask: Tensor, sigma_y: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        sigma_t = torch.full_like(sigma_y, SIGMA_OF_MEAN)
        return self.network(x, sigma_t, y, _TracedSense(maps, mask), sigma_y)


class _WithSamples(_First):
    """The mean with the measured samples as they were measured, where x₀ holds their noise."""

    def forward(self, y: Tensor, maps: Tensor, mask: Tensor, x: Tensor) -> Tensor:
        return self.network.with_samples(x, y, _TracedSense(maps, mask))


class Mean(nn.Module):
    """E[x₀ | y] in the units of the given k-space, and what it was divided by inside.

    The graph of `mrunfold compile`: masking, the units of mrunfold.problem.rescale, the network's evaluations
    until each slice has enough (PosteriorDenoiser.mean_and_evaluations), and back to the units that came in.
    Compiled by TorchScript; its parts are traced.
    """

    def __init__(
        self, units: nn.Module, first: nn.Module, further: nn.Module, last: nn.Module, passes: int
    ) -> None:
        super().__init__()
        self.units, self.first, self.further, self.last = units, first, further, last
        self.passes, self.end = passes, PASS_END

    def forward(self, kspace: Tensor, maps: Tensor, mask: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image (slice, set, y, x) complex64 and its scale (slice,).

        kspace: whitened, (slice, coil, y, x) complex64; maps: (slice, set, coil, y, x) complex64; mask:
        (slice, y, x) float32, ≠ 0 where sampled; sigma: noise standard deviation in the units of kspace,
        σ² = E|n|², (slice,) float32.
        """
        y, ones, sigma_y, scale = self.units(kspace, maps, mask, sigma)
        x = self.first(y, maps, ones, sigma_y)
        going = torch.ones_like(sigma_y, dtype=torch.bool)
        for _ in range(self.passes - 1):
            if bool(going.any()):
                after = self.further(y, maps, ones, sigma_y, x)
                squares = torch.view_as_real(after - x).square().flatten(start_dim=1).sum(dim=1)
                moved = (squares / (x.shape[-2] * x.shape[-1])).sqrt()
                x = torch.where(going.reshape(-1, 1, 1, 1), after, x)
                going = torch.logical_and(going, moved > self.end)
        return self.last(y, maps, ones, x) * scale.reshape(-1, 1, 1, 1), scale


def trace(network: PosteriorDenoiser, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Return `Mean` of a network as frozen TorchScript, for any slices, sets, coils and matrix sizes."""
    with torch.no_grad(), no_deprecation():
        # The traces are compared with Python by `export_mean`; a second trace of the same input shows less.
        y, ones, sigma_y, _ = _Units()(*example)
        given = y, example[1], ones, sigma_y
        first, further, last = (part(network).eval() for part in (_First, _Further, _WithSamples))
        mean = Mean(
            torch.jit.trace(_Units(), example, check_trace=False),
            torch.jit.trace(first, given, check_trace=False),
            torch.jit.trace(further, (*given, first(*given)), check_trace=False),
            torch.jit.trace(last, (*given[:3], first(*given)), check_trace=False),
            network.passes,
        )
        return torch.jit.freeze(torch.jit.script(mean.eval()), optimize_numerics=False)
