"""deepinv's total variation under our operators: against ours, deepinv's own operators and dense matrices."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from mrunfold.benchmarks.photographs.deepinv_tv import DeepinvTotalVariation
from mrunfold.errors import InputError
from mrunfold.interop.deepinv import to_deepinv
from mrunfold.methods import get_method
from mrunfold.operators import Identity
from mrunfold.operators.imaging import CircularBlur, Downsample, Inpaint, box_kernel, gaussian_kernel
from mrunfold.problem import Problem
from mrunfold.testing import dense_matrix

DOUBLE = torch.float64
needs_deepinv = pytest.mark.skipif(
    importlib.util.find_spec("deepinv") is None, reason="needs deepinv; pip install 'mrunfold[bench]'"
)


def problem(A, sigma=0.05):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(A.domain.shape, dtype=A.domain.dtype, generator=generator)
    y = A(x) + sigma * torch.randn(A.range.shape, dtype=A.domain.dtype, generator=generator)
    return Problem(y, A, torch.tensor(sigma, dtype=A.domain.dtype), torch.tensor(1.0), target=x)


def mask():
    return torch.rand(8, 7, generator=torch.Generator().manual_seed(2)) < 0.5


OPERATORS = [
    Identity((3, 8, 7), DOUBLE),
    CircularBlur(gaussian_kernel(1.0, 5).double(), (3, 8, 7)),
    Downsample(box_kernel(2).double(), 2, (2, 8, 6)),
    Inpaint(mask(), 3, DOUBLE),
]


@needs_deepinv
@pytest.mark.parametrize("A", OPERATORS[1:])
def test_it_has_the_minimum_of_our_total_variation(A):
    """Two programs, one convex objective; a tenth more weight would be found."""
    p = problem(A)
    ours = get_method("tv_isotropic", lamda=0.02, max_iter=200)(p).mean
    theirs = DeepinvTotalVariation(lamda=0.02, max_iter=200)(p).mean
    other = DeepinvTotalVariation(lamda=0.022, max_iter=200)(p).mean
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < 2e-3
    assert (theirs - ours).norm() < 0.2 * (other - ours).norm()


@needs_deepinv
@pytest.mark.parametrize("A", OPERATORS)
def test_the_data_step_is_the_dense_solution(A):
    physics, matrix = to_deepinv(A, max_iter=20), dense_matrix(A)
    generator = torch.Generator().manual_seed(1)
    z = torch.rand(2, *A.domain.shape, dtype=DOUBLE, generator=generator)
    y = torch.rand(2, *A.range.shape, dtype=DOUBLE, generator=generator)
    system = 3.0 * matrix.mT @ matrix + torch.eye(matrix.shape[1], dtype=DOUBLE)
    right = 3.0 * y.flatten(1) @ matrix + z.flatten(1)
    dense = torch.linalg.solve(system, right.mT).mT.reshape(z.shape)
    torch.testing.assert_close(physics.prox_l2(z, y, 3.0), dense, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(physics.A(z).flatten(1), z.flatten(1) @ matrix.mT)
    torch.testing.assert_close(physics.A_adjoint(y).flatten(1), y.flatten(1) @ matrix)


@needs_deepinv
def test_it_does_what_deepinv_does_with_its_own_operators():
    from deepinv.physics import BlurFFT, Inpainting

    x = torch.rand(1, 3, 8, 7, generator=torch.Generator().manual_seed(3))
    kernel = torch.rand(5, 5, generator=torch.Generator().manual_seed(4))
    kernel = kernel / kernel.sum()
    pairs = [
        (CircularBlur(kernel[None], (3, 8, 7)), BlurFFT((3, 8, 7), filter=kernel[None, None])),
        (Inpaint(mask()), Inpainting((3, 8, 7), mask=mask().float()[None])),
    ]
    for A, own in pairs:
        wrapped = to_deepinv(A, max_iter=20)
        torch.testing.assert_close(wrapped.A(x), own.A(x), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            wrapped.prox_l2(x, wrapped.A(x) + 0.1, 2.0), own.prox_l2(x, own.A(x) + 0.1, 2.0),
            rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_bad_input(monkeypatch):
    with pytest.raises(InputError, match="lamda"):
        DeepinvTotalVariation(lamda=-1.0)
    with pytest.raises(InputError, match="max_iter"):
        DeepinvTotalVariation(max_iter=0)
    p = problem(OPERATORS[0])
    monkeypatch.setattr("mrunfold.benchmarks.photographs.deepinv_tv.require", lambda *names, what: None)
    with pytest.raises(InputError, match="batch axes"):
        DeepinvTotalVariation()(Problem(p.y[None], p.A, p.sigma_y[None], p.scale[None]))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "deepinv", None)
    with pytest.raises(InputError, match=r"pip install 'mrunfold\[bench\]'"):
        DeepinvTotalVariation()(p)
