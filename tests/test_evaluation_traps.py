"""The numbers of docs/evaluation-traps.md; `pytest -s tests/test_evaluation_traps.py` prints them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mrunfold.methods import get_method
from mrunfold.metrics import psnr, ssim
from mrunfold.operators import FourierMask, LinearOperator, Sense, fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import Problem, rescale

SHAPE = (96, 80)
SIGMA = 0.05


def phantom(shape: tuple[int, int], sharpness: float = 20.0) -> Tensor:
    """Return ellipses with a slow phase, complex64 (1, y, x)."""
    y = torch.linspace(-1, 1, shape[0])[:, None]
    x = torch.linspace(-1, 1, shape[1])[None, :]
    image = torch.zeros(shape)
    for cy, cx, ry, rx, value in (
        (0.0, 0.0, 0.85, 0.7, 1.0), (0.0, 0.0, 0.78, 0.63, -0.5), (-0.2, 0.2, 0.3, 0.14, 0.4),
        (-0.1, -0.25, 0.35, 0.18, -0.3), (0.45, 0.0, 0.12, 0.2, 0.3),
    ):  # fmt: skip
        image += value * torch.sigmoid((1 - ((y - cy) / ry) ** 2 - ((x - cx) / rx) ** 2) * sharpness)
    return torch.polar(image.abs(), 0.8 * y + 0.5 * x * x)[None]


def sampling(shape: tuple[int, int], fraction: float, seed: int = 0) -> Tensor:
    """Return a mask (y, x), denser towards a fully sampled centre."""
    y = torch.linspace(-1, 1, shape[0])[:, None]
    x = torch.linspace(-1, 1, shape[1])[None, :]
    density = 2.5 * fraction * torch.exp(-2.5 * (y * y + x * x))
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    return (mask | (torch.maximum(y.abs(), x.abs()) < 0.15)).float()


def measured(A: LinearOperator, x: Tensor, sigma: float, seed: int) -> Tensor:
    noise = torch.randn(A.range.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))
    return A(x) + sigma * noise


def reconstruct(y: Tensor, A: LinearOperator, sigma: float, method: str = "tv") -> Tensor:
    """Return the magnitude of a reconstruction in the units of y."""
    y, sigma_y, scale = rescale(y, A, torch.tensor(sigma))
    return (get_method(method)(Problem(y, A, sigma_y, scale)).mean * scale).abs()


def decibel(target: Tensor, recon: Tensor) -> float:
    target = target.abs()
    return psnr(target.numpy(), recon.abs().numpy(), data_range=float(target.max()))


def similarity(target: Tensor, recon: Tensor, data_range: float) -> float:
    return ssim(target.abs().numpy(), recon.abs().numpy(), data_range=data_range)


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return simulated_maps(8, SHAPE, torch.Generator().manual_seed(0))[None]


def rss(kspace: Tensor) -> Tensor:
    return ifft2c(kspace).abs().square().sum(dim=-3, keepdim=True).sqrt()


Report = Callable[..., None]


@pytest.fixture
def holds(request: pytest.FixtureRequest) -> Report:
    """Return a function that prints what was measured and compares it with what the page says."""

    def check(tolerance: float, **pairs: tuple[float, float]) -> None:
        print(f"\n{request.node.name}:", ", ".join(f"{k} {v:.4g}" for k, (v, _) in pairs.items()))
        for name, (value, documented) in pairs.items():
            assert value == pytest.approx(documented, abs=tolerance), name

    return check


def test_data_range(maps: Tensor, holds: Report) -> None:
    x = phantom(SHAPE)
    full, A = Sense(maps, torch.ones(SHAPE)), Sense(maps, sampling(SHAPE, 0.25))
    y = measured(full, x, SIGMA, seed=1)
    unit = 3e-4  # about the height of fastMRI's images
    target, recon = unit * full.adjoint(y).abs(), unit * reconstruct(A.mask * y, A, SIGMA)
    peak = float(target.max())
    holds(
        0.01,
        volume_maximum=(similarity(target, recon, peak), 0.76),
        twice=(similarity(target, recon, 2 * peak), 0.86),
        one=(similarity(target, recon, 1.0), 1.0),
    )


def test_rss_against_combined(maps: Tensor, holds: Report) -> None:
    full = Sense(maps, torch.ones(SHAPE))
    y = measured(full, phantom(SHAPE), SIGMA, seed=1)
    combined = full.adjoint(y).abs()
    holds(0.2, full_data_scored_against_itself=(decibel(rss(y), combined), 23.0))


def test_noise_shared_with_the_reference(maps: Tensor, holds: Report) -> None:
    x = phantom(SHAPE)
    full, A = Sense(maps, torch.ones(SHAPE)), Sense(maps, sampling(SHAPE, 0.8))
    first, second = (measured(full, x, SIGMA, seed) for seed in (1, 2))
    recon = reconstruct(A.mask * first, A, SIGMA)
    holds(
        0.2,
        acceleration=(A.mask.numel() / float(A.mask.sum()), 2.1),
        same_scan=(decibel(full.adjoint(first), recon), 30.6),
        repeated_scan=(decibel(full.adjoint(second), recon), 27.4),
        truth=(decibel(x, recon), 28.1),
    )


def test_maps_from_full_data(maps: Tensor, holds: Report) -> None:
    mask, full = sampling(SHAPE, 0.25), Sense(maps, torch.ones(SHAPE))
    y = measured(full, phantom(SHAPE), SIGMA, seed=1)
    target = rss(y)
    leaking = ifft2c(y) / target  # their combination of the full data is the root sum of squares
    holds(
        0.2,
        from_full_data=(decibel(target, reconstruct(mask * y, Sense(leaking[None], mask), SIGMA)), 31.2),
        of_the_coils=(decibel(full.adjoint(y), reconstruct(mask * y, Sense(maps, mask), SIGMA)), 28.1),
    )


def test_zero_padded_kspace(holds: Report) -> None:
    shape = (128, 128)
    A = FourierMask(sampling(shape, 0.25))
    honest = measured(FourierMask(torch.ones(shape)), phantom(shape, 200.0), 0.01, seed=1)
    padded = torch.zeros_like(honest)
    padded[:, 32:96, 32:96] = honest[:, 32:96, 32:96]
    scores = [decibel(ifft2c(k), reconstruct(A.mask * k, A, 0.01, "l1_wavelet")) for k in (honest, padded)]
    inside = A.mask[32:96, 32:96]
    holds(
        0.2,
        acceleration=(A.mask.numel() / float(A.mask.sum()), 5.2),
        honest=(scores[0], 27.5),
        padded=(scores[1], 32.2),
        acceleration_of_what_was_measured=(inside.numel() / float(inside.sum()), 2.2),
    )


def test_kspace_of_a_magnitude_image(holds: Report) -> None:
    shape = (96, 81)
    image = ifft2c(measured(FourierMask(torch.ones(shape)), phantom(shape), 0.02, seed=1))

    def from_half(x: Tensor) -> Tensor:
        """Fill the half of k-space that is left out with the conjugate of the other half."""
        half = fft2c(x)
        half[..., :40] = 0
        mirrored = half[..., torch.arange(0, -96, -1) % 96, :].flip(-1).conj()
        return ifft2c(torch.where(torch.arange(81) < 40, mirrored, half))

    magnitude = image.abs() + 0j
    assert torch.allclose(from_half(magnitude), magnitude, atol=1e-5)
    holds(
        0.2,
        measured=(decibel(image, from_half(image)), 18.4),
        of_its_magnitude=(min(100.0, decibel(magnitude, from_half(magnitude))), 100),
    )


def test_acceleration_asked_and_delivered(holds: Report) -> None:
    from fastmri.data.subsample import EquiSpacedMaskFunc, RandomMaskFunc

    def delivered(law: type, seed: int) -> float:
        mask, _ = law([0.08], [4])((1, 1, 368, 2), seed=seed)
        return float(mask.numel() / mask.sum())

    random = [delivered(RandomMaskFunc, seed) for seed in range(200)]
    equispaced = [delivered(EquiSpacedMaskFunc, seed) for seed in range(200)]
    holds(
        0.05,
        random_least=(min(random), 3.29),
        random_most=(max(random), 4.97),
        equispaced=(float(np.mean(equispaced)), 3.24),
    )


def test_crop(maps: Tensor, holds: Report) -> None:
    wide = (192, 80)
    x = torch.zeros(1, *wide, dtype=torch.complex64)
    x[:, 48:144] = phantom(SHAPE)
    wide_maps = simulated_maps(8, wide, torch.Generator().manual_seed(0))[None]
    full, A = Sense(wide_maps, torch.ones(wide)), Sense(wide_maps, sampling(wide, 0.25))
    y = measured(full, x, SIGMA, seed=1)
    target, recon = full.adjoint(y), reconstruct(A.mask * y, A, SIGMA)
    holds(
        0.2,
        with_oversampling=(decibel(target, recon), 29.3),
        cropped=(decibel(target[:, 48:144], recon[:, 48:144]), 28.6),
    )
    peak = float(target.abs().max())
    holds(
        0.01,
        similarity_with_oversampling=(similarity(target, recon, peak), 0.65),
        similarity_cropped=(similarity(target[:, 48:144], recon[:, 48:144], peak), 0.77),
    )
