"""ESPIRiT in PyTorch against SigPy's: the same maps up to a phase, the same support."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_espirit import scan

from mrunfold.coils import EspiritSettings, calibration_block, espirit_maps, maps_from_block
from mrunfold.coils.eigenmaps import covariance_kernels, eigen_maps
from mrunfold.errors import InputError
from mrunfold.operators import fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps

TORCH, SIGPY = EspiritSettings(backend="torch"), EspiritSettings(backend="sigpy")


def agreement(
    kspace: np.ndarray, mask: np.ndarray, iterations: int | None = None, **settings
) -> tuple[float, float]:
    """Return the least |⟨ours, SigPy's⟩| of the object's pixels, and the share that only one support has.

    In the air two eigenvalues can be equal, and the maps any mixture of theirs.
    """
    width = settings.get("calibration_width", 24)
    block = calibration_block(kspace, mask, width, settings.get("kernel_width", 6))
    # SigPy calibrates on squares only: a thin region is given to both in the same square of zeros.
    side = width if min(block.shape[1:]) < settings.get("pad_below", 16) else min(block.shape[1:])
    square = np.zeros((len(block), side, side), np.complex64)
    size = [min(n, side) for n in block.shape[1:]]
    there, here = ([slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(sides, size, strict=True)]
                   for sides in ((side, side), block.shape[1:]))  # fmt: skip
    square[:, there[0], there[1]] = block[:, here[0], here[1]]
    ours, theirs = (
        maps_from_block(square, mask.shape, EspiritSettings(backend=backend, **settings, **more))[0]
        for backend, more in (("torch", {}), ("sigpy", {"max_iterations": iterations}))
    )
    kept, there = (np.abs(maps).sum(axis=0) > 0 for maps in (ours, theirs))
    overlap = np.abs((ours.conj() * theirs).sum(axis=0))
    image = np.sqrt((np.abs(ifft2c(torch.from_numpy(kspace)).numpy()) ** 2).sum(axis=0))
    inside = kept & there & (image > 0.1 * image.max())
    return float(overlap[inside].min()), float((kept != there).sum() / max(there.sum(), 1))


def centre(shape: tuple[int, int], height: int, width: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    top, left = shape[0] // 2 - height // 2, shape[1] // 2 - width // 2
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.mark.parametrize("coils", [2, 4, 8, 16])
@pytest.mark.parametrize("shape", [(48, 44), (47, 45)])
def test_maps_are_sigpys(coils: int, shape: tuple[int, int]):
    kspace, _, _ = scan(shape, coils)
    overlap, differing = agreement(kspace, np.ones(shape, bool))
    assert overlap > 0.999
    assert differing < 0.01


@pytest.mark.parametrize("region", [(12, 12), (16, 16), (24, 8), (24, 13), (9, 24)])
def test_maps_are_sigpys_for_any_calibration_region(region: tuple[int, int]):
    kspace, _, _ = scan((64, 60), 6, noise=3e-3)
    overlap, differing = agreement(kspace, centre((64, 60), *region))
    assert overlap > 0.999
    assert differing < 0.01


@pytest.mark.parametrize(("width", "kernel", "threshold"), [(32, 6, 0.02), (24, 5, 0.05), (12, 4, 0.01)])
def test_maps_are_sigpys_for_other_settings(width: int, kernel: int, threshold: float):
    kspace, _, _ = scan((48, 44), 5)
    settings = {"calibration_width": width, "kernel_width": kernel, "threshold": threshold, "pad_below": 12}
    overlap, differing = agreement(kspace, np.ones((48, 44), bool), **settings)
    assert overlap > 0.999
    assert differing < 0.01


@pytest.mark.slow  # pytest -m slow tests/coils/test_eigenmaps.py
@pytest.mark.parametrize("name", ["brain_8ch_full.cfl", "mchiew_SENSE_16ch.mat"])
@pytest.mark.parametrize("region", [(24, 24), (24, 12), (24, 8)])
def test_maps_are_sigpys_on_real_scans(name: str, region: tuple[int, int], shared_data):
    from mrunfold.benchmarks.datasets import full_slices

    path = shared_data / "kspace" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the shared data")
    kspace = next(iter(full_slices(path))).kspace
    # With few lines the two largest eigenvalues are close: SigPy's 100 steps leave 0.94 of the exact vector.
    mask = centre((kspace.shape[1], kspace.shape[2]), *region)
    overlap, differing = agreement(kspace, mask, iterations=100 if min(region) == 24 else 800)
    assert overlap > 0.999
    assert differing < 0.01


def test_maps_at_32_coils_and_a_large_matrix_are_the_dense_eigenvectors():
    """Against `numpy.linalg.eigh` of the covariance, pixel by pixel."""
    kspace, _, _ = scan((120, 90), 32)
    window = torch.from_numpy(kspace[:, 48:72, 33:57])
    kernels = covariance_kernels(window, 6, 0.02)
    maps, value = eigen_maps(kernels, (120, 90))
    for y, x in [(60, 45), (40, 50), (70, 30), (0, 0), (119, 3)]:
        wave = [np.exp(2j * np.pi * np.arange(-5, 6) * (r - n // 2) / n) for r, n in ((y, 120), (x, 90))]
        covariance = np.einsum("cdij,i,j->cd", kernels.numpy(), *wave)
        values, vectors = np.linalg.eigh(covariance)
        assert float(value[0, y, x]) == pytest.approx(values[-1], rel=1e-3)
        if values[-1] > 0.9:
            assert abs(np.vdot(vectors[:, -1], maps[0, :, y, x].numpy())) == pytest.approx(1, abs=1e-4)


def test_maps_between_the_grid_of_splines_are_the_dense_eigenvectors():
    """A matrix larger than the grid: pixels of the object against `numpy.linalg.eigh`, and the support."""
    shape = (230, 208)
    kspace, _, support = scan(shape, 6)
    window = torch.from_numpy(kspace[:, 103:127, 92:116])
    kernels = covariance_kernels(window, 6, 0.02)
    maps, value = (part[0].numpy() for part in eigen_maps(kernels, shape))
    places = [np.arange(1, n, 3) for n in shape]
    waves = [np.exp(2j * np.pi * np.outer(r - n // 2, np.arange(-5, 6)) / n)
             for r, n in zip(places, shape, strict=True)]  # fmt: skip
    covariance = np.einsum("cdij,yi,xj->yxcd", kernels.numpy(), *waves, optimize=True)
    values, vectors = np.linalg.eigh(covariance)
    here = np.ix_(*places)
    overlap = np.abs((vectors[..., -1].conj() * np.moveaxis(maps, 0, -1)[here]).sum(axis=-1))
    assert overlap[support[here]].min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(maps, axis=0), 1, atol=1e-5)
    assert np.abs(value[here] - values[..., -1])[support[here]].max() < 1e-3
    assert ((value[here] > 0.95) != (values[..., -1] > 0.95)).mean() < 1e-3


def test_eigenvalues_are_one_where_there_is_an_object():
    kspace, _, support = scan()
    _, value = eigen_maps(covariance_kernels(torch.from_numpy(kspace[:, 12:36, 10:34]), 6, 0.02), (48, 44))
    assert float(value[0, torch.from_numpy(support)].min()) > 0.98
    assert float(value.max()) < 1.02


def test_the_phase_is_smooth_over_the_object():
    """So that the image has its own phase and not that of a coil."""
    kspace, truth, support = scan((64, 60), 6)
    maps = espirit_maps(kspace, np.ones((64, 60), bool), TORCH)[0]
    turn = (maps * truth.conj()).sum(axis=0)
    turn = turn / np.maximum(np.abs(turn), 1e-9)
    inside = support[1:] & support[:-1]
    assert np.abs(turn[1:] - turn[:-1])[inside].max() < 0.3


def test_images_from_either_backend_are_the_same():
    """Combined images, and so the reconstructions from them: within 0.05 dB of what the maps explain."""
    kspace, _, _ = scan((64, 60), 8, noise=5e-3)
    images = ifft2c(torch.from_numpy(kspace)).numpy()

    def unexplained(settings: EspiritSettings) -> float:
        maps = espirit_maps(kspace, np.ones((64, 60), bool), settings)[0]
        return float(np.linalg.norm(images - maps * (maps.conj() * images).sum(axis=0)))

    assert abs(20 * np.log10(unexplained(TORCH) / unexplained(SIGPY))) < 0.05


def test_an_unknown_backend_is_refused():
    with pytest.raises(InputError, match="torch or sigpy"):
        EspiritSettings(backend="numpy")  # type: ignore[arg-type]


def test_a_block_of_zeros_has_no_maps():
    assert not maps_from_block(np.zeros((4, 24, 24), np.complex64), (40, 40), TORCH).any()


def folded(coils: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return k-space (coil, 64, 64) of an object 96 wide, and both true maps of its columns 0 to 15."""
    y, x = torch.linspace(-1, 1, 64)[:, None], torch.linspace(-1, 1, 96)
    image = torch.sigmoid(20 * (1 - (y / 0.8) ** 2 - (x / 1.1) ** 2)) * torch.polar(
        1 + 0.3 * y * x, 4 * y + x
    )
    generator = torch.Generator().manual_seed(2)
    maps = simulated_maps(coils, (64, 96), generator)
    images = maps * image
    alias = images[..., 16:80].clone()
    alias[..., :16] += images[..., 80:]
    alias[..., 48:] += images[..., :16]
    kspace = fft2c(alias)
    kspace = kspace + 1e-3 * torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    return kspace.numpy(), maps[..., 16:32].numpy(), maps[..., 80:].numpy()


def test_two_sets_hold_what_folds_over():
    """The sensitivities of both places that a pixel shows lie in the span of two maps, not in that of one."""
    kspace, there, over = folded()
    least = []
    for sets in (1, 2):
        maps = espirit_maps(kspace, np.ones((64, 64), bool), EspiritSettings(sets=sets))
        assert maps.shape == (sets, 8, 64, 64)
        part = maps[:, :, 20:44, 5:14]
        spans = [np.linalg.norm((part.conj() * v[:, 20:44, 5:14]).sum(axis=1), axis=0) for v in (there, over)]
        least.append(float(np.min(spans)))
    assert least[1] > 0.97
    assert least[0] < 0.8


def test_the_sets_are_orthogonal_where_both_are():
    maps = espirit_maps(folded()[0], np.ones((64, 64), bool), EspiritSettings(sets=2))
    norms = np.abs(maps[1]).sum(axis=0)
    assert 0.1 < (norms > 0).mean() < 0.8, "the second set is where the object folds over, and only there"
    assert np.abs((maps[0].conj() * maps[1]).sum(axis=0)).max() < 1e-4


def test_sigpy_makes_one_set():
    with pytest.raises(InputError, match="sigpy one"):
        EspiritSettings(backend="sigpy", sets=2)
