"""Measured coil sensitivities: read from files, resized, drawn for a scan."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from mrunfold.errors import InputError
from mrunfold.operators import fft2c
from mrunfold.protocols import Scanner
from mrunfold.training.images import ImageBank
from mrunfold.training.receive import GRID, random_sensitivities, read_coils, resized


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def measured_maps(coils=12, seed=0):
    from mrunfold.phantoms.coils import loop_sensitivities

    return loop_sensitivities(coils, (48, 48), generator(seed)).to(torch.complex64)


def test_measured_coils_are_used_where_there_are_enough():
    maps, share = measured_maps(), Scanner(coils="*.npz", measured_coils=1)
    plain, g = Scanner(), generator(3)
    for coils in (2, 8, 12):
        found = random_sensitivities((maps,), coils, share, g)
        assert found.shape == (coils, GRID, GRID)
        assert bool(torch.isfinite(torch.view_as_real(found)).all())
    a = random_sensitivities((maps,), 13, share, generator(4))
    assert a.shape[0] == 13  # more than were measured: simulated
    b = random_sensitivities((maps,), 8, share, generator(4))
    c = random_sensitivities((maps,), 8, plain, generator(4))
    assert not torch.allclose(b, c)


def test_coil_files_are_read_as_maps_or_calibrated(tmp_path):
    maps = measured_maps(4).numpy()
    np.savez(tmp_path / "a.npz", maps=3 * maps)
    y, x = np.meshgrid(*(np.linspace(-1, 1, 48),) * 2, indexing="ij")
    np.savez(tmp_path / "b.npz", kspace=fft2c(torch.from_numpy(maps * (y**2 + x**2 < 0.8))).numpy())
    a, b = read_coils(tmp_path, "*.npz")
    assert float(a.abs().square().sum(dim=0).mean()) == pytest.approx(1, rel=1e-4)
    size = [m.abs().square().sum(dim=0).sqrt() for m in (a, b)]
    agreement = (a.conj() * b).sum(dim=0).abs() / (size[0] * size[1])
    assert float(agreement[12:36, 12:36].min()) > 0.99
    with pytest.raises(InputError, match="no coil sensitivities"):
        read_coils(tmp_path, "none/*.npz")
    np.savez(tmp_path / "c.npz", other=maps)
    with pytest.raises(InputError, match="neither maps nor kspace"):
        read_coils(tmp_path, "c.npz")


def test_coils_are_asked_for_with_their_files():
    for wrong in ({"measured_coils": 0.3}, {"coils": "*.npz"}):
        with pytest.raises(ValueError, match="measured_coils need coils"):
            Scanner(**wrong)


def test_resized_keeps_smooth_maps():
    maps = measured_maps(3)
    back = resized(resized(maps, (96, 80)), (48, 48))
    torch.testing.assert_close(back, maps, rtol=0, atol=0.01 * float(maps.abs().max()))


def test_measured_coils_reach_the_bank(tmp_path):
    tiny.write_files(tmp_path)
    np.savez(tmp_path / "coils.npz", maps=measured_maps().numpy())
    loaded = ImageBank.load(tmp_path, tiny.protocol().images, "coils.npz")
    assert [c.shape for c in loaded.coils] == [(12, 48, 48)]
