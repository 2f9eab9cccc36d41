"""Frames of 3-D scans: BART's dimensions, averages, and one calibration of all frames of a slab."""

from __future__ import annotations

import numpy as np
import pytest
from volumefiles import SIGMA, SIZE, coils3d, fft3c, letters, noisy, write_mrd_volume

import mrunfold
from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.cfl import write_cfl
from mrunfold.masks import poisson
from mrunfold.pipeline import ReconSettings, reconstruct

FACTORS = (1.0, -0.6, 0.15)  # of the echoes: of opposite phase, and one that is nearly noise


@pytest.fixture(scope="module")
def scan():
    """Maps of 4 coils, echoes (echo, coil, readout, phase, partition) and a mask of points in ky-kz."""
    image = letters(SIZE) + 0.5
    image[:3] = image[-3:] = image[:, :3] = image[:, -3:] = image[:, :, :3] = image[:, :, -3:] = 0
    maps = coils3d(4)
    echoes = np.stack([noisy(f * fft3c(maps * image), SIGMA, seed=n) for n, f in enumerate(FACTORS)])
    return image, maps, echoes, poisson(SIZE[1:], 2, seed=0, calibration=12).array


def quick(kspace, mask, **named):
    how = {"method": "sense", "map_sets": 1, "progress": False} | named
    return mrunfold.recon(kspace, mask, volume=True, **how)


def map_error(found: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """Mean sine of the angle between found and true maps (coil, readout, phase, partition)."""
    alike = np.abs((found.conj() * truth).sum(axis=0)) / np.maximum(np.linalg.norm(found, axis=0), 1e-6)
    return float(np.sqrt(np.maximum(1 - alike[inside] ** 2, 0)).mean())


class TestTogether:
    @pytest.fixture(scope="class")
    @staticmethod
    def both(scan):
        _, _, echoes, mask = scan
        return quick(echoes, mask), quick(echoes, mask, per_frame=True)

    def test_all_frames_have_the_same_maps_and_noise(self, both):
        together, apart = both
        np.testing.assert_array_equal(together.maps[0], together.maps[2])
        assert len(set(together.sigma)) == 1
        assert len(set(apart.sigma)) == 3
        assert together.sigma[0] == pytest.approx(SIGMA, rel=0.1)
        said = together.record["slices"][0]["problem"]
        assert (said["together"], said["frames"], said["components"]) == (3, [0, 1, 2], 1)
        assert "together" not in apart.record["slices"][0]["problem"]

    def test_the_faint_echo_has_better_maps(self, scan, both):
        image, truth, _, _ = scan
        together, apart = (map_error(found.maps[2], truth, image > 0) for found in both)
        assert together < 0.6 * apart

    def test_each_echo_is_itself(self, scan, both):
        image = scan[0]
        for found, factor in zip(both[0].image, FACTORS, strict=True):
            truth = abs(factor) * image
            assert np.linalg.norm(np.abs(found) - truth) < 0.35 * np.linalg.norm(truth)
        first, second = (both[0].image[n][image > 0] for n in (0, 1))
        ratio = np.vdot(first, second).real / np.vdot(first, first).real
        assert ratio == pytest.approx(-0.6, abs=0.03)


def test_a_frame_without_a_sampled_centre_takes_the_maps_of_the_others(scan):
    _, _, echoes, mask = scan
    points = np.stack([mask, mask])
    points[1, 12:20, 10:18] = False
    found = quick(echoes[:2, :, 8:16] * points[:, None, None], None)
    np.testing.assert_array_equal(found.maps[0], found.maps[1])
    assert found.image[1].any()
    with pytest.raises(InputError, match="fully sampled centre"):
        quick(echoes[:2, :, 8:16] * points[:, None, None], None, per_frame=True)


def test_dimensions_of_bart_are_frames_and_averages(scan, tmp_path):
    clean = scan[2][0] / np.float32(2)
    data = np.zeros((*SIZE, 4, *[1] * 12), np.complex64)
    frames = []
    for echo in range(2):
        averages = [
            np.moveaxis(noisy((echo + 1) * clean, 1e-6, seed=n), 0, -1).reshape(data.shape) for n in (1, 2)
        ]
        frames.append(np.concatenate(averages, axis=14))
    write_cfl(tmp_path / "a", np.concatenate(frames, axis=5))
    with open_scan(tmp_path / "a.cfl") as scan_:
        header = scan_.header.images
        assert [label["contrast"] for label in header.frames.labels] == [0, 1]
        assert (header.slices, header.places) == (2 * SIZE[2], SIZE[2])
        assert any("2 averages" in note for note in header.notes)
        last = np.abs(ifft2(scan_.kspace(SIZE[2] + 9)))
    half = np.abs(
        np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(clean, (1, 2, 3)), axes=(1, 2, 3)), (1, 2, 3))
    )
    half *= np.sqrt(np.prod(SIZE))
    np.testing.assert_allclose(last, 2 * half[..., 9], atol=1e-4)


def ifft2(kspace: np.ndarray) -> np.ndarray:
    from rawfiles import ifft2c

    return ifft2c(kspace)


def test_the_command_chooses_frames_and_keeps_their_images(scan, tmp_path):
    import h5py

    _, _, echoes, mask = scan
    path = write_mrd_volume(tmp_path / "a.h5", echoes[:2, :, 8:16], mask=mask)
    how = {"method": "sense", "cache": False, "check": 0, "map_sets": 1}
    for name, frames in (("all", None), ("one", "1")):
        reconstruct(path, tmp_path / name, ReconSettings(**how, frames=frames))
    with h5py.File(tmp_path / "all" / "recon.h5") as every, h5py.File(tmp_path / "one" / "recon.h5") as one:
        np.testing.assert_array_equal(every["reconstruction"][SIZE[2] :], one["reconstruction"][()])
