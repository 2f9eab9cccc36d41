"""The sample scan: what a fastMRI file has, and says of itself."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import ifft2c

from mrunfold.errors import InputError
from mrunfold.io import crop_image, open_scan, remove_oversampling, sha256_of
from mrunfold.phantoms.brain import NOTICE, write_sample

SIZE = (96, 80)


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample.h5"
    assert write_sample(path, coils=4, slices=2, size=SIZE) == path
    return path


def test_it_is_a_fastmri_file(sample):
    with open_scan(sample) as scan:
        header = scan.header
        assert (header.format, header.slices, header.coils) == ("fastmri", 2, 4)
        assert (header.matrix, header.unoversampled, header.crop) == ((192, 80), 96, SIZE)
        assert header.pixel_mm == pytest.approx((256 / 96, 218 / 80))
        assert (header.slice_mm, header.padding, header.geometry) == (3, (0, 80), None)
        for index in range(2):
            kspace = remove_oversampling(scan.kspace(index), header)
            image = np.linalg.norm(ifft2c(kspace), axis=0)
            np.testing.assert_allclose(crop_image(image, header.crop), scan.reference(index), rtol=1e-4)
            assert scan.acquired(index).all()


def test_it_is_marked_and_names_nobody(sample):
    with open_scan(sample) as scan:
        assert scan.header.simulated
    with h5py.File(sample) as file:
        assert file.attrs["simulated"]
        assert file.attrs["notice"] == NOTICE
        assert set(file.attrs) == {"acquisition", "max", "norm", "simulated", "notice"}
        images = file["reconstruction_rss"][()]
        assert file.attrs["max"] == pytest.approx(images.max())
        assert file.attrs["norm"] == pytest.approx(np.linalg.norm(images), rel=1e-5)
        assert b"patient" not in file["ismrmrd_header"][()].lower()
    page = Path(__file__).parents[2] / "docs" / "notices" / "icbm152.md"
    words = page.read_text(encoding="utf-8").replace("> ", "").replace("–", "-").split()
    notice = NOTICE[NOTICE.index("Copyright") :].split()
    assert any(words[i : i + len(notice)] == notice for i in range(len(words)))


def test_a_brain_the_right_way_up(sample):
    """Anterior at the top, where the brain is narrower; phase-encoded from right to left."""
    with open_scan(sample) as scan:
        image = scan.reference(1)
    inside = image > 0.3 * image.max()
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    height, width = (rows[-1] - rows[0]) * 256 / 96, (columns[-1] - columns[0]) * 218 / 80
    assert 150 < height < 200
    assert 120 < width < 150
    widths = inside.sum(axis=1)[rows[0] : rows[-1]]
    middle = len(widths) // 2
    assert widths[middle:].mean() > widths[:middle].mean() + 2


def test_it_is_the_template_upright(tmp_path):
    """Rows from anterior; the template is symmetric, so that right and left cannot be told."""
    from nilearn.datasets import load_mni152_template

    write_sample(tmp_path / "a.h5", coils=1, slices=1, noise=0)
    template = load_mni152_template(resolution=1)
    height = np.rint(17.5 - template.affine[2, 3]).astype(int)
    volume = template.get_fdata()[:, :, height - 1 : height + 2].mean(axis=2)  # x to the right, y to anterior
    with open_scan(tmp_path / "a.h5") as scan:
        image = scan.reference(0)

    def similarity(plane):
        start = [n // 2 - m // 2 for n, m in zip(image.shape, plane.shape, strict=True)]
        inside = image[start[0] : start[0] + plane.shape[0], start[1] : start[1] + plane.shape[1]]
        return np.corrcoef(inside.ravel(), plane.ravel())[0, 1]

    assert similarity(volume.T[::-1, ::-1]) > 0.9999
    assert similarity(volume.T[:, ::-1]) < 0.95


def test_noise_is_what_was_asked(tmp_path):
    write_sample(tmp_path / "a.h5", coils=2, slices=1, size=SIZE, noise=0.05)
    with open_scan(tmp_path / "a.h5") as scan:
        image = ifft2c(scan.kspace(0))
        brightest = scan.reference(0).max()
    air = image[:, :30]  # the oversampled field of view holds nothing else
    assert np.sqrt((np.abs(air) ** 2).mean()) == pytest.approx(0.05 * brightest, rel=0.15)


def test_equal_seeds_give_equal_files(tmp_path, sample):
    write_sample(tmp_path / "again.h5", coils=4, slices=2, size=SIZE)
    write_sample(tmp_path / "other.h5", coils=4, slices=2, size=SIZE, seed=1)
    assert sha256_of(tmp_path / "again.h5") == sha256_of(sample)
    with h5py.File(tmp_path / "other.h5") as other, h5py.File(sample) as file:
        assert not np.allclose(other["kspace"][0], file["kspace"][0], rtol=0.1)


def test_coils_and_phase_are_those_of_a_scan(sample):
    """The coils differ, and no coil's image is real up to a constant phase."""
    with open_scan(sample) as scan:
        image = ifft2c(remove_oversampling(scan.kspace(0), scan.header))
        inside = scan.reference(0) > 0.5 * scan.reference(0).max()
    share = np.abs(image[:, inside]) / np.linalg.norm(image[:, inside], axis=0)
    assert share.std(axis=1).min() > 0.03
    for one in image[:, inside]:
        assert np.abs((one / np.abs(one)).mean()) < 0.97


@pytest.mark.parametrize(
    "wrong",
    [
        {"coils": 0},
        {"coils": 500},
        {"slices": 0},
        {"slices": 100},
        {"size": (512, 218)},
        {"size": (8, 8)},
        {"noise": -1},
    ],
)
def test_numbers_out_of_range(tmp_path, wrong):
    with pytest.raises(InputError, match=r"sample|noise"):
        write_sample(tmp_path / "a.h5", **wrong)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="create it first"):
        write_sample(tmp_path / "b" / "a.h5", slices=1, size=(16, 16))
