"""The head that predicts the mean's standard deviation: what it sees, and what it must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from unrolled import network, noise, sense, tensor

from mrunfold.networks.sd_head import Evidence, SdHead, evidence
from mrunfold.operators import FourierMask, Sense
from mrunfold.protocols import SdSpec


def trained(seed: int = 0, widths: tuple[int, ...] = (6, 8)) -> SdHead:
    """A head whose zero layers have values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = SdHead(widths)
        for name, value in head.named_parameters():
            if not value.any():
                torch.nn.init.normal_(value, std=0.05 if "quarter" in name else 0.1)
    return head.double().eval().requires_grad_(False)


def seen(batch: int = 2, shape: tuple[int, int] = (24, 16), passes: int = 3):
    """A mean of a small network, with y, A and σ_y."""
    A, sigma_y = sense(batch=batch, shape=shape), torch.linspace(0.01, 0.05, batch, dtype=torch.float64)
    y = A(noise((batch, *A.domain.shape), seed=1))
    net = network(passes=passes)
    with torch.no_grad():
        mean, path = net.mean_and_path(y, A, sigma_y)
    return mean, path, y, A, sigma_y


def test_the_path_is_that_of_the_evaluations_that_count():
    A, sigma_y = sense(), tensor(0.02)[0]
    y = A(noise(A.domain.shape, seed=1))
    net = network()
    with torch.no_grad():
        first, one = net.with_path(None, tensor(math.inf)[0], y, A, sigma_y)
        second, two = net.with_path(first, tensor(0.1)[0], y, A, sigma_y)
        mean, path = net.mean_and_path(y, A, sigma_y, passes=2)
    assert torch.equal(mean, net.with_samples(second, y, A))
    assert torch.equal(path.last, second)
    assert torch.equal(path.first, first)
    assert torch.equal(path.start, one.start)
    for name in ("before", "prior", "rho"):
        assert torch.equal(getattr(path, name), getattr(two, name))
    assert not torch.allclose(path.before, one.before)
    assert int(path.evaluations) == 2


def test_an_item_that_ended_keeps_its_own_path(monkeypatch):
    mean, path, y, A, sigma_y = seen()
    moved = (mean - path.first).flatten(1).norm(dim=1)
    assert not torch.allclose(moved[0], moved[1])
    for n in range(2):
        alone, own = network(passes=3).mean_and_path(y[n], Sense(A.maps[n], A.mask[n]), sigma_y[n])
        torch.testing.assert_close(alone.detach(), mean[n])
        torch.testing.assert_close(own.before.detach(), path.before[n])
        torch.testing.assert_close(own.prior.detach(), path.prior[n])


def test_evidence_is_what_it_says():
    _, path, y, A, sigma_y = seen(batch=1)
    mean = path.last
    images = evidence(path, A, sigma_y).images[0]
    dense = torch.stack([A.normal(e[None, None]) for e in torch.eye(24 * 16).reshape(-1, 24, 16).to(y.dtype)])
    normal = (dense.reshape(24 * 16, -1).T @ mean.flatten()).reshape(24, 16)
    torch.testing.assert_close(images[0], mean[0, 0].abs())
    torch.testing.assert_close(images[1], (mean - path.start)[0, 0].abs())
    torch.testing.assert_close(images[2], (mean - path.first)[0, 0].abs())
    torch.testing.assert_close(images[3], (mean - path.before)[0, 0].abs())
    torch.testing.assert_close(images[4], (path.prior - path.before)[0, 0].abs())
    torch.testing.assert_close(images[5], (mean - path.prior)[0, 0].abs())
    torch.testing.assert_close(images[6], (A.adjoint(y)[0, 0] - normal).abs())
    torch.testing.assert_close(images[7], (mean[0, 0] - normal).abs())


def test_sets_of_maps_count_together():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 24, 16, dtype=torch.complex128, generator=generator) / 3
    A = Sense(maps, torch.rand(24, 16, generator=generator) < 0.5)
    y = A(noise(A.domain.shape, seed=1))
    net = network()
    with torch.no_grad():
        mean, path = net.mean_and_path(y, A, tensor(0.02)[0])
    found = evidence(path, A, tensor(0.02)[0])
    torch.testing.assert_close(found.images[0], mean.abs().square().sum(dim=0).sqrt())
    assert trained()(found).shape == (24, 16)


def test_one_coil_without_maps_has_evidence_too():
    A = FourierMask(torch.rand(20, 16, generator=torch.Generator().manual_seed(1)) < 0.5)
    y = A(noise(A.domain.shape, torch.complex64, seed=1))
    sigma_y = torch.tensor(0.02)
    with torch.no_grad():
        _, path = network().float().mean_and_path(y, A, sigma_y)
    assert torch.isfinite(trained().float()(evidence(path, A, sigma_y))).all()


@pytest.mark.parametrize("factor", [1e-3, 0.5, 40.0])
def test_sd_scales_with_the_image(factor):
    _, path, _, A, sigma_y = seen()
    found = evidence(path, A, sigma_y)
    louder = Evidence(factor * found.images, factor * found.height, found.numbers)
    torch.testing.assert_close(trained()(louder), factor * trained()(found))


def test_the_height_scales_with_the_image_and_the_numbers_do_not():
    _, path, _, A, sigma_y = seen()
    once = evidence(path, A, sigma_y)
    doubled = evidence(replace(path, last=2 * path.last), A, 2 * sigma_y)
    torch.testing.assert_close(doubled.height, 2 * once.height)
    torch.testing.assert_close(doubled.numbers, once.numbers)
    # However much air is around it.
    wide = torch.nn.functional.pad(once.images[:, 0], (8, 8, 8, 8))
    square = wide.square().flatten(1)
    torch.testing.assert_close((square.square().sum(1) / square.sum(1)).sqrt(), once.height)


@pytest.mark.parametrize("axis", [-1, -2])
def test_an_image_that_is_turned_over_has_its_sd_turned_over(axis):
    _, path, _, A, sigma_y = seen(shape=(24, 16))
    found = evidence(path, A, sigma_y)
    turned = Evidence(found.images.flip(axis), found.height, found.numbers)
    torch.testing.assert_close(trained()(turned), trained()(found).flip(axis))
    assert not torch.allclose(trained()(found), trained()(found).flip(axis))  # the image is no mirror image


def test_an_item_does_not_depend_on_its_batch():
    _, path, _, A, sigma_y = seen()
    found = evidence(path, A, sigma_y)
    together = trained()(found)
    for n in range(2):
        alone = trained()(Evidence(found.images[n], found.height[n], found.numbers[n]))
        torch.testing.assert_close(alone, together[n])


@pytest.mark.parametrize("shape", [(23, 17), (5, 40), (1, 1)])
def test_any_size(shape):
    found = trained()(
        Evidence(torch.rand(8, *shape, dtype=torch.float64), tensor(1.0)[0], torch.zeros(6).double())
    )
    assert found.shape == shape
    assert bool((found > 0).all())


def test_an_image_of_nothing_has_hardly_any_sd():
    given = Evidence(torch.zeros(8, 16, 16).double(), tensor(1e-12)[0], torch.zeros(6).double())
    found = trained()(given)
    assert torch.isfinite(found).all()
    assert float(found.max()) < 1e-10


def test_the_head_is_small():
    count = sum(p.numel() for p in SdHead.from_spec(SdSpec()).parameters())
    assert count < 100_000
