"""Data crimes are seen, and real scans are not accused."""

from __future__ import annotations

import itertools

import h5py
import numpy as np
import pytest
import torch
from rawfiles import fft2c, ifft2c

from mrunfold.errors import InputError
from mrunfold.io import Header, data_crimes, open_scan
from mrunfold.io import crimes as looked
from mrunfold.phantoms.coils import simulated_maps


def header(kspace, **more):
    return Header("cfl", 1, len(kspace), kspace.shape[1:], kspace.shape[1], kspace.shape[1:], **more)


def crimes(kspace, **more):
    return data_crimes(kspace, (kspace != 0).any(axis=0), header(kspace, **more))


@pytest.fixture(scope="module")
def real(shared_data):
    with open_scan(shared_data / "kspace" / "brain_8ch_full.cfl") as scan:
        return scan.kspace(0)


@pytest.fixture(scope="module")
def magnitude(real):
    return np.linalg.norm(ifft2c(real), axis=0)


@pytest.fixture
def noise():
    draws = np.random.default_rng(0).standard_normal((2, 4, 96, 80))
    return (draws[0] + 1j * draws[1]).astype(np.complex64)


def test_real_scans_are_not_accused(real, shared_data):
    assert crimes(real) == ()
    assert crimes(real[:1]) == ()
    with h5py.File(shared_data / "kspace" / "mchiew_SENSE_16ch.mat") as file:
        raw = file["raw"][:, 0]
    assert crimes((raw["real"] + 1j * raw["imag"]).astype(np.complex64)) == ()


@pytest.mark.parametrize("accel", [2, 4, 8])
def test_undersampling_is_no_crime(real, accel):
    rng = np.random.default_rng(accel)
    for kept in (np.arange(180) % accel == accel // 2, rng.random(180) < 1 / accel):
        kept[80:100] = True
        assert crimes(np.where(kept, real, 0)) == ()
    points = rng.random((230, 180)) < 1 / accel
    assert crimes(np.where(points, real, 0)) == ()


def test_partial_fourier_is_no_crime(noise):
    for kept in (np.arange(80) > 20, np.arange(80) < 60):
        assert crimes(np.where(kept, noise, 0)) == ()
    assert crimes(np.where((np.arange(96) > 30)[:, None], noise, 0)) == ()


@pytest.mark.parametrize(("axis", "name"), [(1, "readout"), (2, "phase")])
def test_zero_padding(noise, axis, name):
    widths = [(0, 0)] * 3
    widths[axis] = (16, 16)
    padded = np.pad(noise, widths)
    (found,) = crimes(padded)
    size = noise.shape[axis]
    assert f"only {size} of {size + 32} {name} lines" in found
    # The same after a journey through the image in single precision, where zeros are zeros no more.
    (found,) = crimes(fft2c(ifft2c(padded).astype(np.complex64)))
    assert f"only {size} of {size + 32} {name} lines" in found


def test_zero_padding_that_the_header_knows(noise):
    padded = np.pad(noise, [(0, 0), (0, 0), (16, 16)])
    assert crimes(padded, padding=(16, 96)) == ()
    assert crimes(padded, padding=(8, 104)) != ()


def test_a_mask_that_claims_what_is_not_there(noise):
    """Zeros on one side that the file says were acquired."""
    kspace = np.where(np.arange(80) > 20, noise, 0)
    (found,) = data_crimes(kspace, np.ones((96, 80), bool), header(kspace))
    assert "zero-padded" in found


@pytest.mark.parametrize("size", [(230, 180), (229, 179), (230, 179)])
@pytest.mark.parametrize("phase", [1, 1j, np.exp(0.3j)])
def test_the_transform_of_a_magnitude_image(magnitude, size, phase):
    image = magnitude[: size[0], : size[1]] * phase
    (found,) = crimes(fft2c(image)[None])
    assert "magnitude image" in found


def test_a_centre_in_the_corner_does_not_hide_it(magnitude):
    (found,) = crimes(np.fft.fftshift(np.fft.fft2(magnitude))[None].astype(np.complex64))
    assert "magnitude image" in found


def test_a_magnitude_image_that_was_undersampled(magnitude):
    kept = np.arange(180) % 3 == 0
    kept[80:100] = True
    (found,) = crimes(np.where(kept, fft2c(magnitude), 0)[None])
    assert "magnitude image" in found


@pytest.mark.parametrize("coils", [4, 8])
def test_a_magnitude_image_times_smooth_coils(magnitude, coils):
    maps = simulated_maps(coils, magnitude.shape, torch.Generator().manual_seed(0)).numpy()
    (found,) = crimes(fft2c(magnitude * maps))
    assert "conjugate symmetric" in found


def test_simulated_data_say_so(noise):
    assert crimes(noise, simulated=True) == ("simulated data: the file says so itself",)


def test_nothing_at_all():
    assert crimes(np.zeros((2, 16, 16), np.complex64)) == ()
    assert crimes(np.ones((1, 1, 1), np.complex64)) == ()


def test_shapes_are_checked(noise):
    with pytest.raises(InputError, match="data_crimes expects"):
        data_crimes(noise[0], np.ones((96, 80), bool), header(noise))
    with pytest.raises(InputError, match="data_crimes expects"):
        data_crimes(noise, np.ones(80, bool), header(noise))


@pytest.mark.parametrize("symmetric", [(0, 0, 0, 0), (9, 0, 0, 0), (9, 9, 0, 0), (9, 9, 6, 5), (9, 9, 9, 0)])
def test_coils_are_looked_at_until_the_median_is_decided(symmetric, monkeypatch):
    coherence = {0: 0.1, 5: 0.5, 6: 0.6, 9: 0.95}
    for order in set(itertools.permutations(symmetric)):
        coils = [np.full((8, 8), number, np.complex64) for number in order]
        monkeypatch.setattr(looked, "_coherence", lambda coil: coherence[int(coil[0, 0].real)])
        expected = np.median([coherence[number] for number in order]) > looked.COHERENT
        assert looked._coherent(coils, lambda coil: coil) == expected
    seen = []
    monkeypatch.setattr(looked, "_coherence", lambda coil: 0.1)
    assert not looked._coherent([np.zeros((8, 8))] * 15, lambda coil: seen.append(0))
    assert len(seen) == 8
