"""3-D scans: hybrid space along the readout and along the partitions, from files that BART wrote."""

from __future__ import annotations

import numpy as np
import pytest
from volumefiles import bart, cfl_of, fft3c, ifft3c, letters, noisy, write_bart

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.hybrid import HybridScan
from mrunfold.io.scratch import Scratch
from mrunfold.io.volumes import complete_region


@pytest.fixture
def phantom(tmp_path):
    bart(tmp_path, "phantom", "-3", "-x", "24", "-k", "-s", "3", "k")
    return tmp_path / "k.cfl"


def image_of(kspace: np.ndarray) -> np.ndarray:
    """(…, phase, partition) → image."""
    axes = (-2, -1)
    x = np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(x, axes=axes)


def truth(path) -> np.ndarray:
    return ifft3c(np.moveaxis(cfl_of(path), 3, 0))  # (coil, readout, phase, partition)


class TestSplits:
    def test_a_complete_scan_is_split_along_its_partitions(self, phantom):
        with open_scan(phantom) as scan:
            header = scan.header
            assert (header.slices, header.coils, header.matrix, header.output) == (24, 3, (24, 24), None)
            for partition in (0, 11, 23):
                found = image_of(scan.kspace(partition))
                np.testing.assert_allclose(
                    found, truth(phantom)[..., partition], atol=2e-5 * abs(found).max()
                )

    def test_a_mask_of_points_needs_the_readout(self, phantom):
        with open_scan(phantom) as whole:
            scan = whole.split("readout")
            assert (scan.header.matrix, scan.header.images.crop) == ((24, 24), (24, 24))
            for position in (0, 12, 23):
                found = image_of(scan.kspace(position))
                np.testing.assert_allclose(found, truth(phantom)[:, position], atol=2e-5 * abs(found).max())

    def test_points_that_were_acquired_are_split_along_the_readout(self, tmp_path, phantom):
        bart(tmp_path, "poisson", "-Y", "24", "-Z", "24", "-y", "1.5", "-z", "1.5", "-C", "8", "mask")
        bart(tmp_path, "fmac", "k", "mask", "under")
        mask = cfl_of(tmp_path / "mask.cfl")[0, :, :, 0] != 0
        with open_scan(tmp_path / "under.cfl") as scan:
            assert scan.header.output is not None
            assert scan.split("partition") is scan  # they are not complete
            np.testing.assert_array_equal(scan.acquired(5), mask)
            np.testing.assert_array_equal((scan.kspace(12) != 0).any(axis=0), mask)

    def test_lines_that_were_acquired_leave_the_partitions_complete(self, tmp_path):
        kspace = noisy(fft3c(letters((20, 24, 12)))[None])
        kspace[:, :, 1::2] = 0
        with open_scan(write_bart(tmp_path / "a.cfl", kspace)) as scan:
            assert scan.header.output is None
            np.testing.assert_array_equal(scan.acquired(3), np.broadcast_to(np.arange(24) % 2 == 0, (20, 24)))

    @pytest.mark.parametrize("shape", [(20, 24, 12), (21, 17, 9), (16, 40, 33)])
    @pytest.mark.parametrize("along", ["readout", "partition"])
    def test_odd_and_even_sizes(self, tmp_path, shape, along):
        image = letters(shape)
        with open_scan(write_bart(tmp_path / "a.cfl", noisy(fft3c(image)[None], 1e-6))) as whole:
            scan = whole.split(along)
            slices = np.stack([image_of(scan.kspace(i))[0] for i in range(len(scan))])
        found = slices if along == "readout" else np.moveaxis(slices, 0, -1)
        np.testing.assert_allclose(np.abs(found), image, atol=1e-5)

    @pytest.mark.parametrize("along", ["readout", "partition"])
    def test_through_a_scratch_file_all_is_the_same(self, phantom, along):
        with open_scan(phantom) as whole:
            memory = whole.split(along)
            disk = HybridScan(memory.source, along, budget=0)
            for index in (0, 7, 8, 23):
                np.testing.assert_array_equal(disk.kspace(index), memory.kspace(index))
            assert disk._store[1].on_disk
            assert not memory._store[1].on_disk
            disk.close()

    def test_several_volumes(self, tmp_path):
        images = np.stack([letters((20, 24, 12)), 2 * letters((20, 24, 12))[::-1]])
        data = np.moveaxis(fft3c(images)[:, None], (0, 1), (-1, -2))  # (…, coil, volume)
        dims = [*data.shape[:4], *[1] * 9, 2]
        (tmp_path / "a.hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
        (tmp_path / "a.cfl").write_bytes(data.astype("<c8").tobytes(order="F"))
        with open_scan(tmp_path / "a.cfl") as whole:
            assert (whole.header.slices, whole.header.frames) == (24, None)
            scan = whole.split("readout")
            assert len(scan) == 40
            for index in (25, 3, 39):
                found = np.abs(image_of(scan.kspace(index)))[0]
                np.testing.assert_allclose(found, images[index // 20, index % 20], atol=2e-5)


class TestCentre:
    @pytest.mark.parametrize("shift", [(0, 5, 0), (0, 0, -4), (7, 0, 0), (10, 12, 6)])
    def test_a_centre_that_is_elsewhere_is_found(self, tmp_path, shift):
        image = letters((20, 24, 16))
        kspace = np.roll(fft3c(image), shift, axis=(0, 1, 2))[None]
        with open_scan(write_bart(tmp_path / "a.cfl", kspace)) as whole:
            assert any("k-space is moved there" in note for note in whole.header.notes)
            scan = whole.split("readout")
            found = np.stack([np.abs(image_of(scan.kspace(i)))[0] for i in range(20)])
        np.testing.assert_allclose(found, image, atol=1e-5)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_halves_that_are_swapped(self, tmp_path, axis):
        shape = (32, 32, 24)
        image = np.zeros(shape, np.float32)
        image[10:22, 11:20, 8:16] = 1
        image[12:14, 11:13, 9:11] = 2
        kspace = fft3c(np.fft.fftshift(image, axes=axis))[None]
        with open_scan(write_bart(tmp_path / "a.cfl", kspace)) as whole:
            name = ("readout", "phase", "partition")[axis]
            assert any(f"half a field of view off along the {name}" in note for note in whole.header.notes)
            scan = whole.split("readout")
            found = np.stack([np.abs(image_of(scan.kspace(i)))[0] for i in range(32)])
        np.testing.assert_allclose(found, image, atol=1e-5)

    def test_a_stack_of_spokes_is_refused(self, tmp_path):
        k = fft3c(letters((48, 40, 16)))
        spokes = np.zeros_like(k)
        spokes[:] = k[:, 20:21] * 3  # each line through the centre
        with pytest.raises(InputError, match="stack of spokes; give its `trajectory`"):
            open_scan(write_bart(tmp_path / "a.cfl", spokes[None]))


class TestRegion:
    def test_corners_that_were_left_out(self):
        y, z = np.mgrid[-20:20, -16:16]
        disc = np.hypot((y + 0.5) / 20, (z + 0.5) / 16) <= 1
        region, elliptical = complete_region(disc, ((0, 40), (0, 32)))
        assert elliptical
        np.testing.assert_array_equal(region, disc)

    def test_points_within_an_ellipse(self):
        rng = np.random.default_rng(0)
        y, z = np.mgrid[-40:40, -32:32]
        disc = np.hypot((y + 0.5) / 40, (z + 0.5) / 32) <= 1
        region, elliptical = complete_region(disc & (rng.random(disc.shape) < 0.2), ((0, 80), (0, 64)))
        assert elliptical
        assert abs(region.mean() - np.pi / 4) < 0.03

    def test_points_in_all_of_the_plane(self):
        acquired = np.random.default_rng(0).random((80, 64)) < 0.2
        region, elliptical = complete_region(acquired, ((0, 80), (0, 64)))
        assert not elliptical
        assert region.all()

    def test_limits_of_partial_matrices(self):
        acquired = np.zeros((40, 32), bool)
        acquired[8:, 2:30] = True
        region, elliptical = complete_region(acquired, ((8, 40), (2, 30)))
        assert not elliptical
        np.testing.assert_array_equal(region, acquired)


def test_a_sample_that_is_not_finite(tmp_path, phantom):
    data = np.fromfile(phantom, "<c8")
    data[24 * 24 * 24 + 5] = np.nan
    data.tofile(phantom)
    with pytest.raises(InputError, match="first in coil 1"), open_scan(phantom) as scan:
        scan.kspace(0)


def test_a_disk_without_room(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(InputError, match="set TMPDIR"):
        Scratch((8, 8, 8, 8), (8, 8, 8, 8), budget=0)
