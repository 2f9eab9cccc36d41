"""What the methods that run SigPy's apps share: maps and mask of a problem, the loop over its items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.methods.base import Method, Progress, Result
from mrunfold.problem import Problem

__all__ = ["Regulariser", "cartesian", "least_squares_of_sets", "run_app"]

# SigPy's names for what `run_app` gives an app: y, maps (set, coil, y, x), weights, and ‖A‖² for step sizes.
MakeApp = Callable[[np.ndarray, np.ndarray, np.ndarray, float], Any]
Regulariser = Callable[[tuple[int, ...]], dict[str, Any]]


def cartesian(problem: Problem) -> tuple[Tensor, Tensor]:
    """Return the maps (*batch, set, coil, y, x) and mask (*batch, y, x) of a problem, for each of its items.

    A single coil of uniform sensitivity has maps of one.  InputError for an operator that is not Cartesian.
    """
    A = problem.A
    found = A.cartesian()
    if found is None:
        raise InputError(
            f"this method needs Cartesian k-space (Sense or FourierMask), got {type(A).__name__}; "
            "use sense or zero_filled, which take any operator"
        )
    maps, mask = found
    batch = A.range.batch_of(problem.y)
    return maps.expand(*batch, *maps.shape[-4:]), mask.expand(*batch, *mask.shape[-2:])


def run_app(method: Method, problem: Problem, make_app: MakeApp, progress: Progress) -> Result:
    """Run one of SigPy's apps on each item by itself and return their images (*batch, set, y, x)."""
    maps, mask = cartesian(problem)
    batch = problem.A.range.batch_of(problem.y)
    items = zip(
        problem.y.reshape(-1, *problem.y.shape[-3:]),
        maps.reshape(-1, *maps.shape[-4:]),
        mask.reshape(-1, *mask.shape[-2:]),
        strict=True,
    )
    count, images, iterations = batch.numel(), [], []
    for index, (y, s, m) in enumerate(items):
        app = make_app(*_arguments(y.cpu().numpy(), s.cpu().numpy(), m.cpu().numpy()))
        while not app.alg.done():  # what app.run() does, with our progress instead of its bar
            app.alg.update()
            progress((index + min(1.0, app.alg.iter / app.alg.max_iter)) / count)
        images.append(torch.from_numpy(app.x.reshape(maps.shape[-4], *maps.shape[-2:])))
        iterations.append(int(app.alg.iter))
    mean = torch.stack(images).reshape(*batch, *images[0].shape).to(problem.y)
    record = {"iterations": iterations, "data_residual": _residual(problem, mean)}
    return Result(mean, record=record)


def _arguments(y: np.ndarray, maps: np.ndarray, mask: np.ndarray) -> tuple[Any, ...]:
    """Return y, maps, weights and a bound of ‖A‖² such that SigPy's data term is ½‖y − M F S x‖².

    SigPy has √weights where we have the mask, and multiplies its y by it.  Given the weights it does not take
    zeros for unsampled; given step sizes from the bound it draws no random start for a power iteration.
    """
    unweighted = np.divide(y, mask, out=np.zeros_like(y), where=mask != 0)
    gram = np.einsum("scyx,tcyx->yxst", maps.conj(), maps)
    bound = float(np.linalg.eigvalsh(gram).max() * (mask**2).max())
    return unweighted, maps, mask**2, bound


def least_squares_of_sets(
    y: np.ndarray, maps: np.ndarray, weights: np.ndarray, regulariser: Regulariser, **options: Any
) -> Any:
    """Return SigPy's LinearLeastSquares for ½‖y − M F Σ_s S_s x_s‖² + regulariser, x (set, y, x).

    maps: (set, coil, y, x); regulariser: x's shape → SigPy's proxg, g and, where it has one, G.  With one set
    it is what SigPy's L1WaveletRecon and TotalVariationRecon set up.
    """
    import sigpy as sp
    from sigpy.mri import linop

    size = maps.shape[-2:]
    parts = [linop.Sense(s, weights=weights) * sp.linop.Reshape(size, (1, *size)) for s in maps]
    A = sp.linop.Hstack(parts, axis=0)
    return sp.app.LinearLeastSquares(
        A, y * weights**0.5, show_pbar=False, **regulariser((len(maps), *size)), **options
    )


def _residual(problem: Problem, x: Tensor) -> list[float]:
    """Return ‖y − Ax‖ / ‖y‖ per item, 0 where y is zero."""
    dims = (-3, -2, -1)
    difference = torch.linalg.vector_norm(problem.y - problem.A(x), dim=dims)
    norm = torch.linalg.vector_norm(problem.y, dim=dims)
    return torch.where(norm > 0, difference / norm, difference).flatten().tolist()
