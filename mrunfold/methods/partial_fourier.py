"""Partial Fourier and asymmetric echoes: the side that was not sampled follows from a smooth phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.masks.partial import AXES, Partial, partial_axes
from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number
from mrunfold.methods.sense import LeastSquares
from mrunfold.operators import fft2c, ifft2c
from mrunfold.problem import Problem

__all__ = ["Homodyne", "Pocs"]


@dataclass(frozen=True)
class Homodyne(Method):
    """Re(x_w conj(p)) p, x_w the SENSE image with the side that was sampled alone counted twice.

    p: phase of the image of the centre, which both sides have, under a Hann window.  Weights rise from 0 to 2
    along a ramp over the centre, mirrored places adding up to 2.  It is exact where the phase is as smooth as
    the centre shows.  lamda: of the SENSE solve, as there.
    Takes Cartesian k-space that reaches farther on one side of the centre, else InputError.
    Noll, Nishimura and Macovski, IEEE Trans. Med. Imaging 10 (1991).
    """

    lamda: float | None = None
    name: ClassVar[str] = "homodyne"

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        parts = _partial(problem)
        x = _sense(problem, self.lamda)
        phase = _phase(x, parts)
        ramp = torch.ones(x.shape[-2:], device=x.device)
        for part in parts:
            ramp = ramp * _along(part, _ramp(part, x.shape[part.number]), x)
        weighted = ifft2c(fft2c(x) * ramp)
        return Result(_real_part(weighted, phase), record={"partial": [str(part) for part in parts]})


@dataclass(frozen=True)
class Pocs(Method):
    """Alternate x ← Re(x conj(p)) p and argmin_x ‖y − Ax‖² + mu ‖x − ·‖², p as in `Homodyne`.

    mu: ≥ 0, how much the projected image counts where k-space was measured; iterations: of the pair.
    Takes Cartesian k-space that reaches farther on one side of the centre, else InputError.
    Haacke, Lindskog and Lin, J. Magn. Reson. 92 (1991).
    """

    mu: float = 0.05
    iterations: int = 12
    name: ClassVar[str] = "pocs"

    def __post_init__(self) -> None:
        check_number(self, "mu", low=0.0)
        check_number(self, "iterations", low=1, integer=True)

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        parts = _partial(problem)
        A, back = problem.A, problem.A.adjoint(problem.y)
        x = _sense(problem, None)
        phase = _phase(x, parts)
        for n in range(self.iterations):
            projected = _real_part(x, phase)
            x = A.solve(
                back + self.mu * projected, 1.0, self.mu, projected, tolerance=1e-4, max_iterations=20
            )
            progress((n + 1) / self.iterations)
        # What was measured stays: the phase of fat and vessels is not smooth.
        return Result(x, record={"partial": [str(part) for part in parts]})


def _partial(problem: Problem) -> tuple[Partial, ...]:
    if problem.A.cartesian() is None:
        raise InputError(f"homodyne and pocs need Cartesian k-space, got {problem.A!r}; use sense or unfold")
    seen = problem.A.observed()
    mask = seen.reshape(-1, *seen.shape[-2:]).any(dim=0).cpu().numpy()
    parts = partial_axes(mask)
    if not parts:
        raise InputError(
            "k-space reaches as far on both sides of its centre: there is nothing for homodyne and pocs to "
            "complete; use sense or unfold"
        )
    return parts


def _sense(problem: Problem, lamda: float | None) -> Tensor:
    return LeastSquares(lamda=lamda)(problem).mean


def _along(part: Partial, values: np.ndarray, x: Tensor) -> Tensor:
    """Return values along the axis of `part` as a map (y, x)."""
    shape = [1, 1]
    shape[AXES.index(part.axis)] = len(values)
    return torch.from_numpy(values.astype(np.float32)).to(x.device).reshape(shape).expand(x.shape[-2:])


def _ramp(part: Partial, size: int) -> np.ndarray:
    """Return weights (size,): 2 where one side was sampled alone, 0 beyond, a ramp between."""
    k = np.arange(size) - size // 2
    outward = -k if part.missing == "last" else k  # towards the side that was sampled
    ramp: np.ndarray = np.clip(1 + outward / max(part.reach, 1), 0, 2)
    return ramp


def _phase(x: Tensor, parts: tuple[Partial, ...]) -> Tensor:
    """Return the phase factor of the image of k-space's symmetric centre, under a Hann window."""
    window = torch.ones(x.shape[-2:], device=x.device)
    for part in parts:
        size = x.shape[part.number]
        k = np.abs(np.arange(size) - size // 2) / (part.reach + 1)
        window = window * _along(part, np.where(k < 1, np.cos(np.pi * k / 2) ** 2, 0), x)
    smooth = ifft2c(fft2c(x) * window)
    return smooth / smooth.abs().clamp_min(torch.finfo(smooth.real.dtype).tiny)


def _real_part(x: Tensor, phase: Tensor) -> Tensor:
    return (x * phase.conj()).real * phase
