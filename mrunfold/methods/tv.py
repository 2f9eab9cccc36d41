"""Compressed sensing: total variation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number
from mrunfold.methods.sigpy_app import least_squares, run_app
from mrunfold.problem import Problem

__all__ = ["TotalVariation"]

# ‖G‖² of periodic finite differences along two axes: 4 for each.
GRADIENT_NORM_SQUARED = 8.0
# SigPy's default of 1 leaves images of height 1 far from converged after 100 steps.
DUAL_STEP = 0.1


@dataclass(frozen=True)
class TotalVariation(Method):
    """x = argmin ½‖y − Ax‖² + lamda ‖Gx‖₁, G finite differences, by a primal-dual method.

    lamda: weight ≥ 0 in an image whose bright tissue is near 1 (the Problem's units); ‖·‖₁ is over both
    differences of each pixel (anisotropic), which are periodic; max_iter: steps.
    Takes any complex operator, with any number of map sets; runs SigPy's least squares as its app
    TotalVariationRecon does.
    Block et al., Magn. Reson. Med. 57 (2007); Chambolle and Pock, J. Math. Imaging Vis. 40 (2011).
    """

    lamda: float = 0.005
    max_iter: int = 100
    name: ClassVar[str] = "tv"

    def __post_init__(self) -> None:
        check_number(self, "lamda", low=0.0)
        check_number(self, "max_iter", low=1, integer=True)

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        return run_app(problem, self._app, progress)

    def _app(self, A: Any, y: np.ndarray, bound: float) -> Any:
        tau = 1 / (DUAL_STEP * (bound + GRADIENT_NORM_SQUARED))
        return least_squares(A, y, self._differences, max_iter=self.max_iter, sigma=DUAL_STEP, tau=tau)

    def _differences(self, shape: tuple[int, ...]) -> dict[str, Any]:
        import sigpy as sp

        G = sp.linop.FiniteDifference(shape, axes=(-2, -1))
        return {"proxg": sp.prox.L1Reg(G.oshape, self.lamda), "G": G}
