"""The priors: any size, scale with their input, refuse what they are not for."""

from __future__ import annotations

import pytest
import torch

from mrunfold.errors import InputError
from mrunfold.networks.prior import Prior, ResidualBlock, slow_phase


def small(kind="complex", channels=1, fold=2, dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = Prior(kind, channels, widths=(6, 8, 10), blocks=1, fold=fold)
        torch.nn.init.normal_(prior.tail.weight, std=0.1)  # as if trained: an untrained one is the identity
    return prior.to(dtype).eval()


def image(shape, kind="complex", seed=0):
    dtype = torch.complex128 if kind == "complex" else torch.float64
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (2, 64), (8, 8), (7, 5)])
@pytest.mark.parametrize(("kind", "channels"), [("complex", 1), ("complex", 2), ("real", 1), ("real", 3)])
def test_any_size_comes_back_as_it_was(kind, channels, size):
    x = image((2, channels, *size), kind)
    out = small(kind, channels)(x, torch.full((2,), 0.1, dtype=torch.float64))
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert bool(torch.isfinite(torch.view_as_real(out) if out.is_complex() else out).all())
    assert not torch.equal(out, x)


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("factor", [1e-3, 0.5, 3.0])
def test_scales_with_its_input(fold, factor):
    # Up to a noise level of 2.5; above, the blur of the slow phase widens with it.
    prior, x, tau = small(fold=fold), image((2, 1, 19, 22)), torch.tensor([0.1, 0.7], dtype=torch.float64)
    torch.testing.assert_close(prior(factor * x, factor * tau), factor * prior(x, tau), rtol=1e-9, atol=0)


@pytest.mark.parametrize("angle", [0.7, 3.0, -2.1])
def test_turns_with_its_input(angle):
    prior, x, tau = small(), image((2, 1, 19, 22)), torch.tensor([0.1, 0.7], dtype=torch.float64)
    turn = torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(angle, dtype=torch.float64))
    torch.testing.assert_close(prior(turn * x, tau), turn * prior(x, tau), rtol=1e-9, atol=1e-12)


def test_slow_phase_is_found_below_the_noise():
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in (80, 96)), indexing="ij")
    phase = 1.2 * y - 0.8 * x + 0.9 * torch.cos(3 * x * y)
    noisy = torch.polar(1 + 0.5 * torch.cos(9 * x), phase) + 0.3 * image((80, 96))
    cos, sin = slow_phase(torch.view_as_real(noisy).movedim(-1, 0)[None], torch.tensor([0.3]))
    off = torch.atan2(
        sin * torch.cos(phase) - cos * torch.sin(phase), cos * torch.cos(phase) + sin * torch.sin(phase)
    )
    off = off[..., 12:-12, 12:-12]  # at the border the blur sees one side alone
    assert float(off.abs().max()) < 0.25
    assert float(off.square().mean().sqrt()) < 0.06


def test_the_slow_phase_is_found_below_far_more_noise():
    # A head of one phase under noise 10 times its height: only a mean over many pixels shows it.
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, 96, dtype=torch.float64),) * 2, indexing="ij")
    head = ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) * torch.polar(torch.ones_like(x), torch.full_like(x, 0.8))
    noise = 10 * image((96, 96)) / image((96, 96)).abs().square().mean().sqrt()
    parts = torch.view_as_real(head + noise).movedim(-1, 0)[None]
    off = {}
    for level in (0.1, 10.0):
        cos, sin = slow_phase(parts, torch.tensor([level]))
        phase = torch.atan2(sin, cos)[0][head.abs() > 0] - 0.8
        off[level] = float((1 - phase.cos()).mean())
    assert off[10.0] < 0.05
    assert off[0.1] > 3 * off[10.0]


def test_each_item_has_the_blur_of_its_own_noise():
    x = torch.randn(3, 2, 33, 41, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    level = torch.tensor([0.1, 8.0, 2.4])
    for together, alone in zip(
        slow_phase(x, level),
        zip(*(slow_phase(x[[i]], level[[i]]) for i in range(3)), strict=True),
        strict=True,
    ):
        torch.testing.assert_close(together, torch.cat(alone))
    torch.testing.assert_close(slow_phase(x, torch.full((3,), 2.4)), slow_phase(x, torch.full((3,), 0.01)))


def test_where_nothing_is_the_phase_is_nothing():
    cos, sin = slow_phase(torch.zeros(1, 2, 9, 9), torch.tensor([0.3]))
    assert not cos.any()
    assert not sin.any()
    x = torch.zeros(1, 1, 40, 40, dtype=torch.complex128)
    assert not small()(x, torch.tensor([0.1], dtype=torch.float64))[..., 20:, :].isnan().any()


def test_starts_as_the_identity():
    x = image((1, 1, 16, 16))
    prior = Prior(widths=(6, 8), blocks=1).double()
    assert torch.equal(prior(x, torch.tensor([0.3], dtype=torch.float64)), x)


def test_the_noise_level_matters():
    prior, x = small(), image((1, 1, 16, 16))
    a, b = (prior(x, torch.tensor([t], dtype=torch.float64)) for t in (0.1, 0.5))
    assert not torch.allclose(a, b)


@pytest.mark.parametrize(("kind", "channels"), [("complex", 1), ("real", 3)])
def test_an_item_does_not_depend_on_its_batch(kind, channels):
    prior, x = small(kind, channels), image((4, channels, 18, 21), kind)
    tau = torch.tensor([0.05, 0.1, 0.4, 0.9], dtype=torch.float64)
    together = prior(x, tau)
    for i in range(4):
        torch.testing.assert_close(
            prior(x[i : i + 1], tau[i : i + 1])[0], together[i], rtol=1e-10, atol=1e-12
        )


def test_batch_axes_are_free():
    prior, x, tau = small(), image((2, 3, 1, 12, 12)), torch.rand(2, 3, dtype=torch.float64) + 0.1
    out = prior(x, tau)
    assert out.shape == x.shape
    torch.testing.assert_close(out[1, 2], prior(x[1, 2], tau[1, 2]), rtol=1e-10, atol=1e-12)


def test_complex_sets_are_images_of_their_own():
    prior, x, tau = small(), image((2, 2, 12, 12)), torch.tensor([0.1, 0.3], dtype=torch.float64)
    out = prior(x, tau)
    torch.testing.assert_close(out[:, 1:], prior(x[:, 1:].contiguous(), tau), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "channels", "x"),
    [
        ("complex", 1, torch.zeros(1, 1, 8, 8)),
        ("real", 1, torch.zeros(1, 1, 8, 8, dtype=torch.complex64)),
        ("real", 3, torch.zeros(1, 1, 8, 8)),
        ("complex", 1, torch.zeros(8, 8, dtype=torch.complex64)),
    ],
)
def test_the_wrong_kind_is_refused(kind, channels, x):
    with pytest.raises(InputError, match="this prior is for"):
        small(kind, channels, dtype=torch.float32)(x, torch.tensor([0.1]))
    with pytest.raises(InputError, match="complex or real"):
        Prior("quaternion")


def test_residual_block_starts_near_the_identity():
    x = torch.randn(1, 32, 10, 10, generator=torch.Generator().manual_seed(0))
    prior = Prior(widths=(32, 32), blocks=1)
    block = prior.body[0]
    assert isinstance(block, ResidualBlock)
    with torch.no_grad():
        assert 0.01 < float((block(x) - x).norm() / x.norm()) < 0.3
