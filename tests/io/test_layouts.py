"""Data sets of other layouts: k-space comes out as it was put in, in the axes that documentation gives."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, ifft2c, letter_f

from mrunfold.errors import InputError
from mrunfold.io import open_scan

SHAPE = (48, 40)
PARTS = np.dtype([("real", "<f4"), ("imag", "<f4")])


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """(slice, coil, readout, phase) of six different images with air around them."""
    y, x = (np.linspace(-1, 1, n) for n in SHAPE)
    head = np.hypot(y[:, None] / 0.75, x / 0.7) < 1
    images = np.stack([head * (0.5 + f * letter_f(SHAPE)) for f in (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)])
    return coil_kspace(images.astype(np.float32), coils=3, noise=5e-3)


def compound(array: np.ndarray) -> np.ndarray:
    found = np.empty(array.shape, PARTS)
    found["real"], found["imag"] = array.real, array.imag
    return found


def stored(path, **members):
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            file[name] = value
    return path


class TestCmrxrecon:
    def test_multicoil(self, tmp_path, kspace):
        """(x, y, coil, slice, frame) in MATLAB: 2 slices, 3 frames, readout along x."""
        volume = kspace.reshape(3, 2, 3, *SHAPE).transpose(3, 4, 2, 1, 0)
        path = stored(tmp_path / "cine_sax.mat", kspace_full=compound(volume.T))
        with open_scan(path) as scan:
            assert (scan.header.slices, scan.header.coils, scan.header.matrix) == (6, 3, SHAPE)
            for index in range(6):
                np.testing.assert_array_equal(scan.kspace(index), kspace[index])
            assert scan.acquired(0).all()
            assert (
                "CMRxRecon's layout: 'kspace_full' is taken as (frame, slice, coil, y, x)"
                in scan.header.notes[0]
            )

    def test_without_frames(self, tmp_path, kspace):
        path = stored(tmp_path / "a.mat", kspace=compound(kspace.swapaxes(-1, -2)))
        with open_scan(path) as scan:
            np.testing.assert_array_equal(scan.kspace(4), kspace[4])

    def test_one_coil(self, tmp_path, kspace):
        single = kspace[:, 0].reshape(3, 2, *SHAPE).swapaxes(-1, -2)
        path = stored(tmp_path / "a.mat", kspace_single_full=compound(single))
        with open_scan(path) as scan:
            assert scan.header.coils == 1
            np.testing.assert_array_equal(scan.kspace(3), kspace[3, :1])


class TestCalgary:
    @pytest.mark.parametrize("corner", [True, False])
    def test_parts_in_turn(self, tmp_path, kspace, corner):
        """As they are read: np.fft.ifft2 of the parts, without any shift, is the image."""
        images = ifft2c(kspace)
        k = np.fft.fft2(images, norm="ortho") if corner else kspace
        parts = np.stack([k.real, k.imag], axis=2).reshape(6, 6, *SHAPE)
        path = stored(tmp_path / "e14079s3.h5", kspace=np.moveaxis(parts, 1, -1).astype(np.float32))
        with open_scan(path) as scan:
            assert (scan.header.slices, scan.header.coils, scan.header.matrix) == (6, 3, SHAPE)
            np.testing.assert_allclose(np.abs(ifft2c(scan.kspace(2))), np.abs(images[2]), atol=1e-5)
            assert scan.header.notes[0].startswith("Calgary-Campinas' layout")
            assert len(scan.header.notes) == (3 if corner else 1)


class TestSkmTea:
    def test_echoes_follow_as_slices(self, tmp_path, kspace):
        """(x, ky, kz, echo, coil): three places, two echoes."""
        volume = kspace.reshape(2, 3, 3, *SHAPE).transpose(1, 3, 4, 0, 2)
        path = stored(tmp_path / "MTR_001.h5", kspace=volume, maps=np.zeros(3), target=np.zeros(3))
        with open_scan(path) as scan:
            assert (scan.header.slices, scan.header.coils, scan.header.matrix) == (6, 3, SHAPE)
            for index in range(6):
                np.testing.assert_array_equal(scan.kspace(index), kspace[index])
            with pytest.raises(InputError, match="no slice 6"):
                scan.kspace(6)


def test_nan_is_refused_here_too(tmp_path, kspace):
    broken = compound(kspace.swapaxes(-1, -2))
    broken["imag"][4, 1, 2, 3] = np.nan
    with (
        open_scan(stored(tmp_path / "a.mat", kspace=broken)) as scan,
        pytest.raises(InputError, match="slice 4"),
    ):
        scan.kspace(4)


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((2, 3, 96, 40), "must be complex"),
        ((2, 96, 40, 2, 2), "if axis 4 has real and imaginary parts, write"),
        ((5, 288, 640, 16, 83, 2), "must be complex"),
    ],
)
def test_real_numbers_of_no_known_layout(tmp_path, shape, word):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", shape, np.float32, chunks=True)
    with pytest.raises(InputError, match=word):
        open_scan(tmp_path / "a.h5")
