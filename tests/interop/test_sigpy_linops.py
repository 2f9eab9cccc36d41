"""Operators of ours in SigPy, and SigPy's in our methods."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy as sp
import torch

from mrunfold.errors import InputError
from mrunfold.interop.sigpy import FromSigpy, to_sigpy
from mrunfold.methods import get_method
from mrunfold.operators import Sense, stack
from mrunfold.problem import Problem
from mrunfold.testing import OperatorContract


def sense(size=(12, 10), coils=3):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, coils, *size, dtype=torch.complex64, generator=generator)
    maps = maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    return Sense(maps, torch.rand(*size, generator=generator) < 0.6)


def linop(A):
    maps, mask = A.maps[0].numpy(), A.mask.numpy()
    size = maps.shape[-2:]
    one = sp.linop.Reshape(size, (1, *size))
    return (
        sp.linop.Multiply(maps.shape, mask)
        * sp.linop.FFT(maps.shape, axes=(-2, -1))
        * (sp.linop.Multiply(size, maps) * one)
    )


class TestContract(OperatorContract):
    dtypes = (torch.complex64,)

    def operator(self, dtype, odd):
        return FromSigpy(linop(sense((5, 3) if odd else (4, 6), coils=2).to(dtype=dtype)), dtype)


def test_ours_in_sigpys_conjugate_gradient():
    A = sense()
    x = torch.randn(1, 12, 10, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    y = A(x)
    found = sp.app.LinearLeastSquares(to_sigpy(A), y.numpy(), lamda=0.01, max_iter=50, show_pbar=False).run()
    expected = A.solve(A.adjoint(y), 1.0, 0.01, tolerance=1e-7)
    assert np.abs(found - expected.numpy()).max() < 1e-4


def test_its_adjoint_and_normal():
    A = sense()
    L = to_sigpy(A)
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((*shape, 2)) @ [1, 1j] for shape in (L.ishape, L.oshape))
    assert np.vdot(L * x, y) == pytest.approx(np.vdot(x, L.H * y), rel=1e-4)
    assert np.allclose(L.N * x, L.H * (L * x), atol=1e-5)
    assert np.allclose(L.H.H * x, L * x)


def test_sigpys_in_our_methods():
    A = sense()
    image = torch.zeros(1, 12, 10, dtype=torch.complex64)
    image[:, 3:9, 2:7] = 1
    theirs = FromSigpy(linop(A))
    y = A(image)
    given = Problem(y, theirs, torch.tensor(0.01), torch.tensor(1.0))
    ours = Problem(y, A, torch.tensor(0.01), torch.tensor(1.0))
    for name, bound in (("sense", 1e-3), ("unfold", 0.02)):
        a, b = (get_method(name)(problem).mean for problem in (given, ours))
        assert float((a - b).abs().max()) < bound, name


def test_a_batch_is_refused():
    with pytest.raises(InputError, match="one item"):
        to_sigpy(stack([sense(), sense()]))
