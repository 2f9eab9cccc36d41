"""Sense against `sigpy.mri.linop.Sense`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrunfold.operators import Sense


def draws(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.parametrize("shape", [(32, 28), (31, 27), (32, 27), (31, 28)])
@pytest.mark.parametrize("coils", [1, 5])
def test_forward_adjoint_and_normal_are_sigpys(shape: tuple[int, int], coils: int):
    from sigpy.mri.linop import Sense as SigpySense

    rng = np.random.default_rng(0)
    maps, x, y = draws(rng, coils, *shape), draws(rng, *shape), draws(rng, coils, *shape)
    mask = rng.random(shape) < 0.4
    # SigPy multiplies by the square root of its weights; a mask of 0 and 1 is its own.
    theirs = SigpySense(maps, weights=mask.astype(np.float32))
    ours = Sense(torch.from_numpy(maps)[None], torch.from_numpy(mask))
    image, data = torch.from_numpy(x)[None], torch.from_numpy(y)
    assert relative(ours(image).numpy(), theirs * x) < 1e-5
    assert relative(ours.adjoint(data)[0].numpy(), theirs.H * y) < 1e-5
    assert relative(ours.normal(image)[0].numpy(), theirs.N * x) < 1e-5


def test_weights_enter_as_square_roots_in_sigpy_and_as_they_are_here():
    from sigpy.mri.linop import Sense as SigpySense

    rng = np.random.default_rng(1)
    maps, x = draws(rng, 3, 24, 20), draws(rng, 24, 20)
    weights = rng.random((24, 20)).astype(np.float32)
    ours = Sense(torch.from_numpy(maps)[None], torch.from_numpy(weights))
    assert relative(ours(torch.from_numpy(x)[None]).numpy(), SigpySense(maps, weights=weights**2) * x) < 1e-5
