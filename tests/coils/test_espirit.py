"""ESPIRiT maps: against SigPy, against the maps that were simulated, and where coils are zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrunfold.coils import EspiritSettings, espirit_maps, maps_from_block
from mrunfold.errors import InputError
from mrunfold.operators import fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps


def scan(shape: tuple[int, int] = (48, 44), coils: int = 5, noise: float = 1e-3):
    """Return k-space (coil, y, x), true maps (coil, y, x) and the object's support (y, x)."""
    y = torch.linspace(-1, 1, shape[0])[:, None]
    x = torch.linspace(-1, 1, shape[1])[None, :]
    image = torch.sigmoid(20 * (1 - (y / 0.75) ** 2 - (x / 0.6) ** 2)) * torch.polar(
        1 + 0.3 * y * x, 0.4 * y + x
    )
    generator = torch.Generator().manual_seed(1)
    maps = simulated_maps(coils, shape, generator)
    kspace = fft2c(maps * image)
    kspace = kspace + noise * torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    return kspace.numpy(), maps.numpy(), (image.abs() > 0.5).numpy()


@pytest.mark.parametrize("shape", [(48, 44), (47, 45), (48, 45)])
def test_maps_are_those_that_were_simulated(shape: tuple[int, int]):
    kspace, truth, support = scan(shape)
    maps = espirit_maps(kspace, np.ones(shape, bool))
    assert maps.shape == (1, 5, *shape)
    assert maps.dtype == np.complex64
    overlap = np.abs((maps[0].conj() * truth).sum(axis=0))  # 1 where equal up to a phase
    assert overlap[support].min() > 0.995


def test_maps_are_sigpys_up_to_the_phase_of_a_pixel():
    from sigpy.mri.app import EspiritCalib

    kspace, _, _ = scan()
    theirs = EspiritCalib(kspace, show_pbar=False).run()
    ours = espirit_maps(kspace, np.ones((48, 44), bool))[0]
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)
    overlap = np.abs((ours.conj() * theirs).sum(axis=0))
    np.testing.assert_allclose(overlap, (np.abs(theirs).sum(axis=0) > 0).astype(float), atol=1e-3)


def test_unit_norm_in_the_support_and_zero_outside():
    kspace, _, support = scan()
    norm = np.sqrt((np.abs(espirit_maps(kspace, np.ones((48, 44), bool))) ** 2).sum(axis=(0, 1)))
    inside = norm > 0
    assert inside[support].all()
    assert not inside.all()
    np.testing.assert_allclose(norm[inside], 1, atol=1e-5)


def test_only_the_calibration_region_is_looked_at():
    kspace, _, _ = scan()
    mask = np.zeros((48, 44), bool)
    mask[12:36, 10:34] = True
    noise = np.random.default_rng(0).standard_normal(kspace.shape)
    np.testing.assert_array_equal(
        espirit_maps(kspace, mask), espirit_maps(np.where(mask, kspace, noise).astype(np.complex64), mask)
    )


@pytest.mark.parametrize("lines", [8, 13])
def test_a_thin_calibration_region_keeps_the_object(lines: int):
    kspace, truth, support = scan()
    mask = np.zeros((48, 44), bool)
    mask[:, 22 - lines // 2 : 22 - lines // 2 + lines] = True
    maps = espirit_maps(kspace, mask)[0]
    overlap = np.abs((maps.conj() * truth).sum(axis=0))
    assert (overlap > 0)[support].all()
    assert np.median(overlap[support]) > 0.97


@pytest.mark.parametrize("dead", [0, 3])
def test_a_coil_that_is_zero_has_a_zero_map_and_spoils_no_other(dead: int):
    kspace, _, _ = scan()
    alive = [c for c in range(5) if c != dead]
    without = espirit_maps(kspace[alive], np.ones((48, 44), bool))
    kspace[dead] = 0
    maps = espirit_maps(kspace, np.ones((48, 44), bool))
    assert np.isfinite(maps).all()
    assert not maps[0, dead].any()
    np.testing.assert_array_equal(maps[:, alive], without)


def test_zero_k_space_has_zero_maps():
    maps = espirit_maps(np.zeros((3, 32, 32), np.complex64), np.ones((32, 32), bool))
    assert not maps.any()


def test_one_coil_has_the_map_one():
    kspace, _, _ = scan(coils=1)
    np.testing.assert_array_equal(espirit_maps(kspace, np.ones((48, 44), bool)), np.ones((1, 1, 48, 44)))


@pytest.mark.parametrize("factor", [1e-18, 1e18])
def test_maps_do_not_depend_on_the_scale_of_k_space(factor: float):
    kspace, _, _ = scan()
    ones = np.ones((48, 44), bool)
    scaled = espirit_maps((kspace * factor).astype(np.complex64), ones)
    np.testing.assert_allclose(scaled, espirit_maps(kspace, ones), atol=2e-3)


def test_the_image_is_smooth_in_phase_where_coils_combine():
    """Real in the first coil, as SigPy has it, the largest step is twice this."""
    kspace, _, support = scan(coils=8)
    maps = torch.from_numpy(espirit_maps(kspace, np.ones((48, 44), bool)))[0]
    x = (maps.conj() * ifft2c(torch.from_numpy(kspace))).sum(dim=0).numpy()
    inside = support[1:] & support[:-1]
    assert np.abs(np.angle(x[1:] * x[:-1].conj()))[inside].max() < 0.06


def test_random_state_and_progress_are_left_alone(capfd):
    kspace, _, _ = scan()
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (what is tested)
    espirit_maps(kspace, np.ones((48, 44), bool))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert capfd.readouterr() == ("", "")


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="kernel"):
        EspiritSettings(kernel_width=30)
    with pytest.raises(InputError, match="crop"):
        EspiritSettings(crop=1.5)


def test_from_the_block_alone():
    kspace, _, _ = scan()
    block = kspace[:, 12:36, 10:34]
    np.testing.assert_array_equal(
        maps_from_block(block, (48, 44)), espirit_maps(kspace, np.ones((48, 44), bool))
    )
