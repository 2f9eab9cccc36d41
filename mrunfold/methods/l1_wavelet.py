"""Compressed sensing: few wavelet coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mrunfold.errors import InputError, did_you_mean
from mrunfold.methods.base import Method, Progress, Result, Seeds, check_number
from mrunfold.methods.sigpy_app import least_squares, run_app
from mrunfold.problem import Problem

__all__ = ["L1Wavelet"]


@dataclass(frozen=True)
class L1Wavelet(Method):
    """x = argmin ½‖y − Ax‖² + lamda ‖Wx‖₁, W an orthogonal wavelet transform, by FISTA.

    lamda: threshold ≥ 0 in an image whose bright tissue is near 1 (the Problem's units); wavelet: one of
    PyWavelets' orthogonal wavelets; max_iter: steps.
    Takes any complex operator, with any number of map sets; runs SigPy's least squares as its app
    L1WaveletRecon does.
    Lustig et al., Magn. Reson. Med. 58 (2007), eq. 4; Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009).
    """

    lamda: float = 0.005
    wavelet: str = "db4"
    max_iter: int = 60
    name: ClassVar[str] = "l1_wavelet"

    def __post_init__(self) -> None:
        check_number(self, "lamda", low=0.0)
        check_number(self, "max_iter", low=1, integer=True)
        import pywt

        if self.wavelet not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(self.wavelet).orthogonal:
            known = [w for w in pywt.wavelist(kind="discrete") if pywt.Wavelet(w).orthogonal]
            raise InputError(
                f"there is no orthogonal wavelet {self.wavelet!r}{did_you_mean(self.wavelet, known)}"
            )

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        return run_app(problem, self._app, progress)

    def _app(self, A: Any, y: np.ndarray, bound: float) -> Any:
        alpha = 1 / bound if bound > 0 else 1.0
        return least_squares(A, y, self._wavelets, max_iter=self.max_iter, alpha=alpha)

    def _wavelets(self, shape: tuple[int, ...]) -> dict[str, Any]:
        import sigpy as sp

        W = sp.linop.Wavelet(shape, axes=(-2, -1), wave_name=self.wavelet)
        return {"proxg": sp.prox.UnitaryTransform(sp.prox.L1Reg(W.oshape, self.lamda), W)}
