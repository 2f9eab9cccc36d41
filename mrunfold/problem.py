"""From k-space and a mask to (y, A, σ_y, scale): the one way in for training, tests and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mrunfold.operators import LinearOperator

__all__ = ["Problem", "TargetKind", "rescale"]

TargetKind = Literal["combined", "rss", "none"]


@dataclass(frozen=True)
class Problem:
    """y = A x + n in unitless form: whitened, divided by `scale`, ‖A‖ ≤ 1.

    y: measurement (*batch, coil, y, x); A: its operator, x (*batch, set, y, x); sigma_y: noise standard
    deviation, σ² = E|n|² (*batch,); scale: what y was divided by (*batch,), × scale gives the file's units;
    target: fully sampled image in the same unitless form, complex (*batch, set, y, x) for `combined` (with the
    maps of A), real (*batch, 1, y, x) for `rss`, or None; coil_gain: real (*batch, 1, y, x), ‖unwhitened maps‖:
    |x|·coil_gain is the root sum of squares of the coil images in the file's own units (before scale);
    flags: data crimes found, in words; record: what the run log should say.
    """

    y: Tensor
    A: LinearOperator
    sigma_y: Tensor
    scale: Tensor
    target: Tensor | None = None
    target_kind: TargetKind = "none"
    coil_gain: Tensor | None = None
    flags: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Problem:
        """Return the problem with all its tensors on `device`."""
        move = {
            name: None if getattr(self, name) is None else getattr(self, name).to(device)
            for name in ("y", "A", "sigma_y", "scale", "target", "coil_gain")
        }
        return Problem(**move, target_kind=self.target_kind, flags=self.flags, record=self.record)


def rescale(y: Tensor, A: LinearOperator, sigma_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (y / scale, σ_y / scale, scale), scale = 99th percentile of |Aᴴy| per item, 1 where that is 0.

    y: (*batch, *range); sigma_y: (*batch,).  Only acquired samples enter, so a scanner could do the same.
    """
    ndim = A.range.ndim
    magnitude = A.adjoint(y).abs().flatten(start_dim=y.ndim - ndim)
    rank = max(1, round(0.99 * magnitude.shape[-1]))
    scale = magnitude.kthvalue(rank, dim=-1).values
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    item = (...,) + (None,) * ndim
    return y / scale[item], sigma_y / scale, scale
