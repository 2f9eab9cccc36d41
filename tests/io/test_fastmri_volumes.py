"""fastMRI's layout with a second phase encoding: recognised by the header's matrix, refused where unclear."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import ifft2c
from volumefiles import XML, fft3c, ifft3c, letters, noisy

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.pipeline import ReconSettings, reconstruct

SIZE = (24, 20, 16)
WIDE = (48, 20, 20)  # readout and slice oversampling
VOXEL = (1.0, 1.5, 2.0)


def header(n, m=SIZE) -> str:
    return XML.format(
        n=n, m=m, vendor="", last=[a - 1 for a in n], centre=[a // 2 for a in n],
        fov=[a * b for a, b in zip(n, VOXEL, strict=True)],
        recon=[a * b for a, b in zip(m, VOXEL, strict=True)],
    )  # fmt: skip


def stored(folder, kspace, xml, **also):
    with h5py.File(folder / "scan.h5", "w") as file:
        file["kspace"], file["ismrmrd_header"] = kspace.astype(np.complex64), xml
        for name, value in also.items():
            file[name] = value
    return folder / "scan.h5"


@pytest.fixture
def image() -> np.ndarray:
    """(coil, readout, phase, partition), larger than the final image."""
    whole = np.zeros((2, *WIDE), np.float32)
    whole[:, 12:36, :, 2:18] = letters(SIZE) * np.array([1, 0.6])[:, None, None, None]
    return whole


def test_a_volume_without_its_oversampling(tmp_path, image):
    with open_scan(stored(tmp_path, noisy(fft3c(image)), header(WIDE))) as scan:
        shown = scan.header.images
        assert (shown.format, shown.slices, shown.coils, shown.crop) == ("fastmri", 16, 2, SIZE[:2])
        assert shown.pixel_mm == pytest.approx(VOXEL[:2])
        assert shown.slice_mm == pytest.approx(VOXEL[2])
        for partition in (0, 7, 15):
            found = np.abs(ifft2c(scan.kspace(partition)))
            np.testing.assert_allclose(found, image[:, 12:36, :, 2 + partition], atol=2e-3)


def test_volumes_one_after_another(tmp_path, image):
    two = noisy(fft3c(np.stack([image, 2 * image])))
    with open_scan(stored(tmp_path, two, header(WIDE))) as scan:
        assert len(scan) == 32
        found = np.abs(ifft2c(scan.kspace(16 + 7)))
        np.testing.assert_allclose(found, 2 * image[:, 12:36, :, 9], atol=2e-3)


def test_points_and_the_files_own_mask(tmp_path, image):
    mask = np.random.default_rng(0).random(WIDE[1:]) < 0.6
    mask[6:14, 6:14] = True
    with open_scan(stored(tmp_path, noisy(fft3c(image)), header(WIDE), mask=mask.astype(float))) as scan:
        assert scan.header.output is not None
        np.testing.assert_array_equal(scan.acquired(3), mask)
        assert not scan.kspace(3)[:, ~mask].any()


def test_the_command_reconstructs_it(tmp_path, image):
    path = stored(tmp_path, noisy(fft3c(image)), header(WIDE))
    settings = ReconSettings(method="zero_filled", cache=False, target="rss")
    summary = reconstruct(path, tmp_path / "out", settings)
    with h5py.File(summary.folder / "recon.h5") as file:
        found = file["reconstruction"][()]
    truth = np.linalg.norm(np.abs(ifft3c(fft3c(image))), axis=0)[12:36, :, 2:18]
    assert found.shape == (16, 24, 20)
    inside = np.moveaxis(truth, -1, 0) > 0
    np.testing.assert_allclose(found[inside], np.moveaxis(truth, -1, 0)[inside], atol=0.01)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((16, 16, 16, 16), (16, 16, 16)),  # slices or partitions
        ((3, 24, 22, 16), (24, 20, 16)),  # lines are missing
    ],
)
def test_what_may_be_both_is_refused(tmp_path, shape, size):
    path = stored(tmp_path, np.ones(shape), header(size, size))
    with pytest.raises(InputError, match="may be slices or partitions; write"):
        open_scan(path)


def test_slices_of_a_header_with_partitions_stay_slices(tmp_path):
    kspace = noisy(np.zeros((16, 3, 24, 20)), 1.0)
    with open_scan(stored(tmp_path, kspace, header(SIZE))) as scan:
        assert (scan.header.slices, scan.header.coils, scan.header.grid) == (16, 3, None)


def test_epi_of_fastmris_diffusion_files_is_refused(tmp_path):
    ramps = (
        "<trajectoryDescription><identifier>ConventionalEPI</identifier><userParameterLong>"
        "<name>rampUpTime</name><value>110</value></userParameterLong></trajectoryDescription></encoding>"
    )
    xml = header((24, 20, 1), (24, 20, 1)).replace("</encoding>", ramps, 1)
    with pytest.raises(InputError, match="EPI"):
        open_scan(stored(tmp_path, np.ones((3, 2, 4, 24, 20)), xml))
