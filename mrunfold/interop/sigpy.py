"""SigPy's linops: one of ours for SigPy's apps, and one of SigPy's for our methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.operators.base import LinearOperator, Space

__all__ = ["FromSigpy", "to_sigpy"]


def to_sigpy(A: LinearOperator) -> Any:
    """Return A, of no batch, as a sigpy.linop.Linop between NumPy arrays of its domain and its range.

    Its `N` is our `normal`, which can be much quicker than the adjoint after the operator.  It works on the
    CPU.  InputError for an operator with batch axes.
    """
    import sigpy as sp

    if A.batch:
        raise InputError(f"a SigPy linop is of one item, got {A!r} of a batch {A.batch}; take one item's")
    A = A.to("cpu")

    class Ours(sp.linop.Linop):
        def __init__(self, own: Any, back: Any, domain: Space, range_: Space, name: str) -> None:
            self._own, self._back, self._spaces = own, back, (domain, range_)
            super().__init__(range_.shape, domain.shape, repr_str=name)

        def _apply(self, array: np.ndarray) -> np.ndarray:
            dtype = self._spaces[0].dtype
            return self._own(torch.from_numpy(np.ascontiguousarray(array)).to(dtype)).numpy()

        def _adjoint_linop(self) -> Any:
            domain, range_ = self._spaces
            return Ours(self._back, self._own, range_, domain, f"{self.repr_str}.H")

        def _normal_linop(self) -> Any:
            domain = self._spaces[0]
            return Ours(A.normal, A.normal, domain, domain, f"{type(A).__name__}.N")

    return Ours(A.forward, A.adjoint, A.domain, A.range, type(A).__name__)


@dataclass(frozen=True, eq=False, repr=False)
class FromSigpy(LinearOperator):
    """A SigPy linop as an operator: x (*batch, *ishape) → y (*batch, *oshape), each item by itself.

    linop: of complex images, ishape (set, y, x); dtype: complex64 or complex128.  The arrays are NumPy's: a
    tensor of another device goes there and back.
    """

    linop: Any
    dtype: torch.dtype = torch.complex64

    @property
    def domain(self) -> Space:
        return Space(tuple(self.linop.ishape), self.dtype)

    @property
    def range(self) -> Space:
        return Space(tuple(self.linop.oshape), self.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        return _each(self.linop, x, self.domain, self.range)

    def _adjoint(self, y: Tensor) -> Tensor:
        return _each(self.linop.H, y, self.range, self.domain)

    def _normal(self, x: Tensor) -> Tensor:
        return _each(self.linop.N, x, self.domain, self.domain)


def _each(linop: Any, x: Tensor, domain: Space, range_: Space) -> Tensor:
    flat = x.detach().reshape(-1, *domain.shape).cpu().numpy()
    found = [torch.from_numpy(np.ascontiguousarray(linop * one)) for one in flat]
    return torch.stack(found).to(x).reshape(*domain.batch_of(x), *range_.shape)
