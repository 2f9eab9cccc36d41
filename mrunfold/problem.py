"""The problem y = A x + n in unitless form: what every method takes and every source of data makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators import LinearOperator, ifft2c, stack

__all__ = ["Problem", "TargetKind", "collate", "rescale", "scale_of"]

TargetKind = Literal["combined", "rss", "none"]


@dataclass(frozen=True)
class Problem:
    """y = A x + n in unitless form: whitened, divided by `scale`, ‖A‖ ≤ 1.

    y: measurement (*batch, coil, y, x); A: its operator, x (*batch, set, y, x); sigma_y: noise standard
    deviation, σ² = E|n|² (*batch,); scale: what y was divided by (*batch,), × scale gives the file's units;
    target: fully sampled image in the same unitless form, complex (*batch, set, y, x) for `combined` (with
    the maps of A), real (*batch, 1, y, x) for `rss`, or None; coil_gain: real (*batch, 1, y, x), ‖unwhitened
    maps‖: |x|·coil_gain is the root sum of squares of the coil images in the file's own units (before scale),
    for one set; unwhitening: complex (*batch, file's coil, coil), takes coil images back to the file's;
    rss_noise: real (*batch, 3), noise of the fully sampled scan's coil images: √Σ_c E|n_c|² in the file's
    units, the effective number of coils, and the share of k-space that is not zero filling; flags:
    data crimes found, in words; record: what the run log should say.
    """

    y: Tensor
    A: LinearOperator
    sigma_y: Tensor
    scale: Tensor
    target: Tensor | None = None
    target_kind: TargetKind = "none"
    coil_gain: Tensor | None = None
    unwhitening: Tensor | None = None
    rss_noise: Tensor | None = None
    flags: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Problem:
        """Return the problem with all its tensors on `device`."""
        held: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {name: t.to(device) for name, t in held.items() if isinstance(t, Tensor)}
        return replace(self, A=self.A.to(device), **moved)

    def coil_rss(self, x: Tensor) -> Tensor:
        """Return √Σ_c|m_c|² of the coil images of x (*batch, set, y, x), real (*batch, 1, y, x).

        m = W⁻¹V⁺ (Σ_s maps_s x_s + Fᴴ(y − A x)) · scale: what x predicts where nothing was measured, and what
        was measured as it was measured, so that wrong maps spoil the former only; the file's units are back.
        Without Cartesian samples the second term is left out; an operator without coils is one coil.
        """
        scale = self.scale[..., None, None, None]
        maps = self.A.coil_maps()
        if maps is None or not (self.keeps_samples or x.shape[-3] > 1):
            gain = self.A.coil_gain(self.unwhitening) if self.coil_gain is None else self.coil_gain
            return torch.linalg.vector_norm(x, dim=-3, keepdim=True) * gain * scale
        coils = torch.einsum("...scyx,...syx->...cyx", maps, x)
        if self.keeps_samples:
            coils = coils + ifft2c(self.y - self.A(x))
        if self.unwhitening is not None:
            coils = torch.einsum("...dc,...cyx->...dyx", self.unwhitening, coils)
        return torch.linalg.vector_norm(coils, dim=-3, keepdim=True) * scale

    @cached_property
    def signal(self) -> bool:
        """Whether anything was measured: y is not 0 everywhere."""
        return bool(self.y.any())

    @property
    def keeps_samples(self) -> bool:
        """Whether `coil_rss` has the measured samples as they were: those of a grid of k-space."""
        return self.A.cartesian() is not None


def rescale(
    y: Tensor, A: LinearOperator, sigma_y: Tensor, common: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (y / scale, σ_y / scale, scale), scale = 99th percentile of |Aᴴy| per item, 1 where that is 0.

    y: (*batch, *range); sigma_y: (*batch,).  Only acquired samples enter, so a scanner could do the same.
    common: the scale of all slices of a volume, where it was found over several of them (`scale_of`).
    """
    ndim = A.range.ndim
    if common is None:
        scale = scale_of(A.adjoint(y).abs().flatten(start_dim=y.ndim - ndim))
    else:
        scale = torch.full(y.shape[: y.ndim - ndim], common, device=y.device)
    item = (...,) + (None,) * ndim
    return y / scale[item], sigma_y / scale, scale


def scale_of(magnitude: Tensor) -> Tensor:
    """Return the 99th percentile of |Aᴴy| (*batch, pixel) over its pixels, (*batch,), 1 where it is 0."""
    rank = max(1, round(0.99 * magnitude.shape[-1]))
    scale = magnitude.kthvalue(rank, dim=-1).values
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def collate(problems: Sequence[Problem]) -> Problem:
    """Return one problem whose batch axis is the given problems of equal shapes, with records under `items`.

    Operators may be of any class, see `operators.stack`.  Raises InputError where shapes or kinds of target
    differ.
    """
    if not problems:
        raise InputError("collate expects at least one problem")
    first = problems[0]
    for i, p in enumerate(problems):
        if p.y.shape != first.y.shape or p.A.domain != first.A.domain or p.A.range != first.A.range:
            raise InputError(
                f"problems of one batch have the same shapes: 0 is {first.A!r}, {i} is {p.A!r}; "
                "batch slices with the same matrix and live coils"
            )
        if p.target_kind != first.target_kind or (p.coil_gain is None) != (first.coil_gain is None):
            raise InputError(f"problem 0 has the target {first.target_kind!r} and {i} {p.target_kind!r}")
    return Problem(
        torch.stack([p.y for p in problems]),
        stack([p.A for p in problems]),
        torch.stack([p.sigma_y for p in problems]),
        torch.stack([p.scale for p in problems]),
        target=_stack([p.target for p in problems]),
        target_kind=first.target_kind,
        coil_gain=_stack([p.coil_gain for p in problems]),
        unwhitening=_stack([p.unwhitening for p in problems]),
        rss_noise=_stack([p.rss_noise for p in problems]),
        flags=tuple(dict.fromkeys(flag for p in problems for flag in p.flags)),
        record={"items": [p.record for p in problems]},
    )


def _stack(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [t for t in tensors if t is not None]
    return torch.stack(present) if len(present) == len(tensors) else None
