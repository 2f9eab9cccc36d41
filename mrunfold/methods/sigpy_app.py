"""What the methods that run SigPy's apps share: the operator as SigPy has it, the loop over items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.interop.sigpy import to_sigpy
from mrunfold.methods.base import Progress, Result
from mrunfold.operators import Batched, LinearOperator, Sense
from mrunfold.operators.norm import norm_squared
from mrunfold.problem import Problem

__all__ = ["Regulariser", "least_squares", "run_app"]

# A SigPy linop A, x (set, y, x), its y, and ‖A‖² for step sizes → one of SigPy's apps for ½‖y − Ax‖² + ….
MakeApp = Callable[[Any, np.ndarray, float], Any]
Regulariser = Callable[[tuple[int, ...]], dict[str, Any]]
POWER_STEPS = 30
ABOVE = 1.15  # times what power iteration finds, which comes from below: steps too long diverge


def run_app(problem: Problem, make_app: MakeApp, progress: Progress) -> Result:
    """Run one of SigPy's apps on each item by itself and return their images (*batch, set, y, x)."""
    items = list(_items(problem))
    images, iterations = [], []
    for index, (A, y) in enumerate(items):
        app = make_app(*_as_sigpy(A, y))
        while not app.alg.done():  # what app.run() does, with our progress instead of its bar
            app.alg.update()
            progress((index + min(1.0, app.alg.iter / app.alg.max_iter)) / len(items))
        images.append(torch.from_numpy(app.x.reshape(A.domain.shape)))
        iterations.append(int(app.alg.iter))
    batch = problem.A.range.batch_of(problem.y)
    mean = torch.stack(images).reshape(*batch, *problem.A.domain.shape).to(problem.y)
    record = {"iterations": iterations, "data_residual": _residual(problem, mean)}
    return Result(mean, record=record)


def least_squares(A: Any, y: np.ndarray, regulariser: Regulariser, **options: Any) -> Any:
    """Return SigPy's LinearLeastSquares for ½‖y − Ax‖² + regulariser.

    regulariser: x's shape → SigPy's proxg, g and, where it has one, G.  On Cartesian k-space of one set it is
    what SigPy's L1WaveletRecon and TotalVariationRecon set up.
    """
    import sigpy as sp

    return sp.app.LinearLeastSquares(A, y, show_pbar=False, **regulariser(tuple(A.ishape)), **options)


def _items(problem: Problem) -> Iterator[tuple[LinearOperator, Tensor]]:
    """Yield the operator, without a batch, and the measurement of each item."""
    A, y = problem.A, problem.y
    flat = y.reshape(-1, *A.range.shape)
    parts = A.cartesian()
    if parts is not None:
        maps, mask = parts
        batch = A.range.batch_of(y)
        maps = maps.expand(*batch, *maps.shape[-4:]).reshape(-1, *maps.shape[-4:])
        mask = mask.expand(*batch, *mask.shape[-2:]).reshape(-1, *mask.shape[-2:])
        yield from ((Sense(s, m), one) for s, m, one in zip(maps, mask, flat, strict=True))
    elif isinstance(A, Batched):
        yield from zip(A.operators * (len(flat) // len(A.operators)), flat, strict=True)
    else:
        yield from ((A, one) for one in flat)


def _as_sigpy(A: LinearOperator, y: Tensor) -> tuple[Any, np.ndarray, float]:
    """Return A as a SigPy linop, its y, and a bound of ‖A‖².

    Of Cartesian k-space it is made of SigPy's own linops.  Given the bound SigPy draws no random start for a
    power iteration.
    """
    parts = A.cartesian()
    if parts is not None:
        maps, mask = (part.cpu().numpy() for part in parts)
        gram = np.einsum("scyx,tcyx->yxst", maps.conj(), maps)
        bound = float(np.linalg.eigvalsh(gram).max() * (mask**2).max())
        return _sense(maps, mask), _unweighted(y.cpu().numpy(), mask) * mask, bound
    return to_sigpy(A), y.cpu().numpy(), ABOVE * norm_squared(A, POWER_STEPS)


def _unweighted(y: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return y / mask, 0 where nothing is sampled: SigPy has √weights where we have the mask."""
    return np.divide(y, mask, out=np.zeros_like(y), where=mask != 0)


def _sense(maps: np.ndarray, mask: np.ndarray) -> Any:
    """Return M F Σ_s S_s x_s, x (set, y, x), of SigPy's linops.

    maps: (set, coil, y, x).  Given the weights it does not take zeros for unsampled.
    """
    import sigpy as sp
    from sigpy.mri import linop

    size = maps.shape[-2:]
    parts = [linop.Sense(s, weights=mask**2) * sp.linop.Reshape(size, (1, *size)) for s in maps]
    return sp.linop.Hstack(parts, axis=0)


def _residual(problem: Problem, x: Tensor) -> list[float]:
    """Return ‖y − Ax‖ / ‖y‖ per item, 0 where y is zero."""
    dims = tuple(range(-problem.A.range.ndim, 0))
    difference = torch.linalg.vector_norm(problem.y - problem.A(x), dim=dims)
    norm = torch.linalg.vector_norm(problem.y, dim=dims)
    return torch.where(norm > 0, difference / norm, difference).flatten().tolist()
