"""Sense: chunks and broadcasting change nothing, its formula, its size."""

from __future__ import annotations

import pytest
import torch

from mrunfold.operators import Sense, centring, fft2c, ifft2c


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 8, 100])
def test_chunks_do_not_change_the_result(sets, chunk):
    maps, mask = random(sets, 7, 12, 9), torch.rand(12, 9, generator=torch.Generator().manual_seed(1)) < 0.4
    whole, parts = Sense(maps, mask, coil_chunk=7), Sense(maps, mask, coil_chunk=chunk)
    x, y = random(2, sets, 12, 9, seed=1), random(2, 7, 12, 9, seed=2)
    torch.testing.assert_close(parts(x), whole(x))
    torch.testing.assert_close(parts.adjoint(y), whole.adjoint(y), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts.normal(x), whole.normal(x), rtol=1e-5, atol=1e-5)


def test_the_formula():
    maps, mask, x = random(2, 3, 6, 5), random(6, 5, seed=3).real < 0, random(2, 6, 5, seed=4)
    for c in range(3):
        image = maps[0, c] * x[0] + maps[1, c] * x[1]
        torch.testing.assert_close(Sense(maps, mask)(x)[c], mask * fft2c(image))


@pytest.mark.parametrize("shape", [(1, 5), (6, 1), (1, 1)])
def test_a_mask_of_length_one_along_an_axis_is_the_same_everywhere(shape):
    maps, x = random(1, 3, 6, 5), random(1, 6, 5, seed=1)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.6
    thin, thick = Sense(maps, mask), Sense(maps, mask.expand(6, 5).clone())
    torch.testing.assert_close(thin(x), thick(x))
    torch.testing.assert_close(thin.normal(x), thick.normal(x))


def test_the_norm_is_at_most_one_for_normalised_maps():
    maps = random(1, 4, 8, 8)
    maps = maps / maps.abs().square().sum(dim=1, keepdim=True).sqrt()
    x = random(1, 8, 8, seed=1)
    full = Sense(maps, torch.ones(8, 8))
    torch.testing.assert_close(full(x).norm(), x.norm())
    assert Sense(maps, torch.rand(8, 8) < 0.5)(x).norm() < x.norm()


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (1, 8)])
def test_the_transform_is_centred_and_unitary(shape):
    x = random(*shape)
    rows, columns = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    f_rows = torch.exp(-2j * torch.pi * rows[:, None] * rows / shape[0]) / shape[0] ** 0.5
    f_columns = torch.exp(-2j * torch.pi * columns[:, None] * columns / shape[1]) / shape[1] ** 0.5
    expected = (f_rows @ x.to(torch.complex128) @ f_columns.mT).to(torch.complex64)
    torch.testing.assert_close(fft2c(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ifft2c(fft2c(x)), x)


def test_the_measured_fraction_is_the_sampled_share():
    mask = torch.zeros(3, 8, 8)
    mask[0, :2], mask[1], mask[2, 0, 0] = 1, 1, 1
    torch.testing.assert_close(
        Sense(random(1, 2, 8, 8), mask).measured_fraction(), torch.tensor([0.25, 1.0, 1 / 64])
    )


def test_equal_to_sigpy():
    pytest.importorskip("sigpy")
    import numpy as np
    import sigpy.mri.linop

    maps, mask = random(1, 4, 12, 10), torch.rand(12, 10, generator=torch.Generator().manual_seed(1)) < 0.4
    peer = sigpy.mri.linop.Sense(maps[0].numpy(), weights=mask.numpy().astype(np.float32))
    ours, x, y = Sense(maps, mask), random(1, 12, 10, seed=1), random(4, 12, 10, seed=2)
    # SigPy takes the square root of its weights, 0 and 1 are the same
    np.testing.assert_allclose(ours(x).numpy(), peer(x[0].numpy()), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.adjoint(y)[0].numpy(), peer.H(y.numpy()), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.normal(x)[0].numpy(), peer.N(x[0].numpy()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(320, 181), (33, 47), (1, 2), (1024, 3)])
def test_phases_centre_a_transform_as_shifts_do(shape):
    x = random(2, *shape)
    phases = centring(shape, x.dtype, x.device)
    torch.testing.assert_close(phases * torch.fft.fft2(phases * x, norm="ortho"), fft2c(x), rtol=0, atol=5e-6)


@pytest.mark.parametrize("coils", [1, 2, 3, 7, 15])
def test_chunks_hold_every_coil_once_and_none_is_odd_but_the_last(coils):
    chunks = Sense(torch.ones(1, coils, 4, 4, dtype=torch.complex64), torch.ones(4, 4)).chunks()
    assert [c for chunk in chunks for c in range(coils)[chunk]] == list(range(coils))
    assert all(chunk.stop - chunk.start in (2, 4) for chunk in chunks[:-1])


@pytest.mark.parametrize(("batch", "most"), [(1, 4), (2, 4), (4, 2), (8, 1), (100, 1)])
def test_a_batch_takes_fewer_coils_at_a_time(batch, most):
    A = Sense(random(1, 1, 8, 2, 2).expand(batch, 1, 8, 2, 2), torch.ones(batch, 2, 2))
    assert {chunk.stop - chunk.start for chunk in A.chunks()} == {most}


def test_a_batch_of_none_has_none():
    A = Sense(torch.zeros(0, 1, 3, 4, 4, dtype=torch.complex64), torch.ones(0, 4, 4))
    assert A.normal(torch.zeros(0, 1, 4, 4, dtype=torch.complex64)).shape == (0, 1, 4, 4)
