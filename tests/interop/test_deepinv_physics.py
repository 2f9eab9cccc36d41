"""Operators and the network of ours in deepinv, and deepinv's physics in our methods."""

from __future__ import annotations

import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.interop.deepinv import FromDeepinv, to_deepinv, to_deepinv_denoiser
from mrunfold.methods import get_method
from mrunfold.networks.weights import load_weights
from mrunfold.operators import FourierMask, Sense
from mrunfold.operators.imaging import Blur
from mrunfold.problem import Problem
from mrunfold.testing import OperatorContract

deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed: pip install 'mrunfold[bench]'")
SIZE = (12, 10)


def sense(size=SIZE, coils=3, sets=1):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(sets, coils, *size, dtype=torch.complex64, generator=generator)
    maps = maps / torch.linalg.vector_norm(maps, dim=(0, 1), keepdim=True)
    return Sense(maps, (torch.rand(*size, generator=generator) < 0.6).float())


def theirs(A):
    return deepinv.physics.MultiCoilMRI(mask=A.mask, coil_maps=A.maps[0][None], img_size=A.mask.shape)


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class TestContract(OperatorContract):
    dtypes = (torch.complex64,)

    def operator(self, dtype, odd):
        A = sense((5, 3) if odd else (4, 6), coils=2)
        return FromDeepinv(theirs(A), A.domain.shape, dtype)

    def test_pickling(self, dtype):
        with pytest.raises(AttributeError, match="lambda"):  # of deepinv's noise model; nothing of ours
            super().test_pickling(dtype)


@pytest.mark.parametrize(
    ("A", "shape"),
    [
        (sense(), (2, *SIZE)),
        (sense(coils=1), (2, *SIZE)),
        (FourierMask((torch.rand(*SIZE) < 0.5).float()), (2, *SIZE)),
        (Blur(torch.rand(3, 3), (3, *SIZE)), (3, *SIZE)),
    ],
    ids=["sense", "one coil", "fourier", "blur"],
)
def test_their_adjointness_check(A, shape):
    physics = to_deepinv(A)
    assert float(physics.adjointness_test(u=draw(1, *shape), num_samples=8)) < 1e-5
    x = draw(2, *shape)
    assert torch.allclose(physics.A_adjoint_A(x), physics.A_adjoint(physics.A(x)), atol=1e-5)


def test_our_operator_is_their_multicoil_mri():
    A = sense()
    ours, other, x = to_deepinv(A), theirs(A), draw(2, 2, *SIZE)
    y = ours.A(x)
    assert y.shape == (2, 2, 3, *SIZE)
    assert torch.allclose(y, other.A(x), atol=1e-5)
    assert torch.allclose(ours.A_adjoint(y), other.A_adjoint(y), atol=1e-5)
    z = draw(2, 2, *SIZE) + 1
    found, expected = (
        p.prox_l2(z, y, 3.0, max_iter=100, tol=1e-7) for p in (to_deepinv(A, 100, 1e-7), other)
    )
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, z, atol=0.1)


def test_their_physics_in_our_methods():
    A = sense()
    image = torch.zeros(1, *SIZE, dtype=torch.complex64)
    image[:, 3:9, 2:7] = 1 + 0.5j
    given = FromDeepinv(theirs(A), A.domain.shape)
    y = A(image)
    problems = [Problem(y, one, torch.tensor(0.01), torch.tensor(1.0)) for one in (given, A)]
    for name, bound in (("sense", 1e-3), ("unfold", 0.02)):
        a, b = (get_method(name)(problem).mean for problem in problems)
        assert float((a - b).abs().max()) < bound, name


def test_the_denoiser_is_the_networks_without_a_measurement():
    network = load_weights()[0]
    denoiser = to_deepinv_denoiser(network)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 40), indexing="ij")
    clean = torch.stack([(x**2 + y**2 < 0.6).float(), 0.3 * (x**2 + y**2 < 0.3).float()])[None]
    noisy = clean + 0.1 * draw(1, 2, 48, 40)
    with torch.no_grad():
        found = denoiser(noisy, 0.1)
        A = FourierMask(torch.zeros(48, 40))
        z = torch.complex(noisy[:, 0], noisy[:, 1])[:, None]
        level = torch.full((1,), 0.1 * 2**0.5)
        expected = network(z, level, torch.zeros_like(z), A, torch.ones(1))
    assert torch.equal(found[:, 0], expected[:, 0].real)
    assert float((found - clean).square().mean()) < 0.4 * float((noisy - clean).square().mean())
    with pytest.raises(InputError, match="real and imaginary"):
        denoiser(torch.zeros(1, 1, 8, 8), 0.1)


def test_their_plug_and_play_with_our_operator_and_network():
    """Half-quadratic splitting by deepinv comes nearer to the image than Aᴴy."""
    A = sense((32, 32), coils=4)
    denoiser, physics = to_deepinv_denoiser(load_weights("mri-compact")[0]), to_deepinv(A)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    clean = torch.stack([(x**2 + y**2 < 0.6).float(), 0.3 * (x**2 + y**2 < 0.3).float()])[None]
    k = physics.A(clean)
    model = deepinv.optim.optim_builder(
        "HQS",
        prior=deepinv.optim.PnP(denoiser=denoiser),
        data_fidelity=deepinv.optim.L2(),
        max_iter=4,
        params_algo={"stepsize": 10.0, "g_param": 0.05, "lambda": 1.0},
    )
    with torch.no_grad():
        found = model(k, physics)
    before = (physics.A_adjoint(k) - clean).square().mean()
    assert float((found - clean).square().mean()) < 0.2 * float(before)


def test_what_deepinv_has_no_form_for_is_refused():
    with pytest.raises(InputError, match="no sets of maps"):
        to_deepinv(sense(sets=2))
    with pytest.raises(InputError, match="one batch axis"):
        to_deepinv(Sense(torch.ones(2, 2, 1, 3, *SIZE, dtype=torch.complex64), torch.ones(2, 2, *SIZE)))
    with pytest.raises(InputError, match="complex image of deepinv"):
        FromDeepinv(None, (2, 4, 4))
