"""NIfTI files: the affine nibabel reads, honest codes, the same bytes for the same images."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.export import Stack, lps_to_ras, write_nifti


def images(count: int = 3, shape: tuple[int, int] = (5, 7)) -> np.ndarray:
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def affine() -> np.ndarray:
    # A right-handed oblique frame, 0.7 × 0.9 × 4 mm.
    angle = np.deg2rad(20)
    read = np.array([np.cos(angle), np.sin(angle), 0.0])
    phase = np.array([-np.sin(angle), np.cos(angle), 0.0])
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = 0.7 * read, 0.9 * phase, [0, 0, 4.0]
    lps[:3, 3] = [-20.0, 13.0, 5.0]
    return lps


def test_known_geometry_is_read_back_with_both_codes(tmp_path):
    volume, lps = images(), affine()
    write_nifti(tmp_path / "a.nii.gz", volume, (5, 7), Stack((0, 1, 2), lps, (0.7, 0.9, 4.0)))
    read = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read.get_fdata(dtype=np.float32), volume.transpose(1, 2, 0))
    np.testing.assert_allclose(read.affine, lps_to_ras(lps), atol=1e-5)
    np.testing.assert_allclose(read.get_qform(), lps_to_ras(lps), atol=1e-5)
    assert (int(read.header["qform_code"]), int(read.header["sform_code"])) == (1, 1)
    assert read.header.get_xyzt_units() == ("mm", "sec")
    assert read.get_data_dtype() == np.float32


def test_left_handed_axes_are_kept_by_qform_and_sform(tmp_path):
    lps = affine()
    lps[:3, 1] *= -1
    write_nifti(tmp_path / "a.nii.gz", images(), (5, 7), Stack((0, 1, 2), lps, (0.7, 0.9, 4.0)))
    read = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read.get_qform(), lps_to_ras(lps), atol=1e-5)
    np.testing.assert_allclose(read.get_sform(), lps_to_ras(lps), atol=1e-5)


def test_unknown_geometry_has_codes_zero_and_voxel_sizes(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", images(), (5, 7), Stack((0, 1, 2), None, (0.5, 0.6, 3.0)))
    read = nibabel.load(tmp_path / "a.nii.gz")
    assert (int(read.header["qform_code"]), int(read.header["sform_code"])) == (0, 0)
    np.testing.assert_allclose(read.header.get_zooms(), (0.5, 0.6, 3.0), rtol=1e-6)
    np.testing.assert_array_equal(read.get_fdata(dtype=np.float32), images().transpose(1, 2, 0))


def test_file_equals_the_one_nibabel_writes_from_the_whole_volume(tmp_path):
    volume, lps = images(), affine()
    write_nifti(tmp_path / "ours.nii.gz", volume, (5, 7), Stack((0, 1, 2), lps, (0.7, 0.9, 4.0)))
    whole = nibabel.Nifti1Image(np.ascontiguousarray(volume.transpose(1, 2, 0)), None)
    whole.set_qform(lps_to_ras(lps), 1)
    whole.set_sform(lps_to_ras(lps), 1)
    whole.header.set_xyzt_units("mm", "sec")
    nibabel.save(whole, tmp_path / "theirs.nii.gz")
    ours, theirs = nibabel.load(tmp_path / "ours.nii.gz"), nibabel.load(tmp_path / "theirs.nii.gz")
    differ = [k for k in ours.header if not np.array_equal(ours.header[k], theirs.header[k], equal_nan=False)]
    allowed = {"scl_slope", "scl_inter", "vox_offset"}  # nibabel hides these two and counts from elsewhere
    assert set(differ) <= allowed
    np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())


def test_same_images_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, images(), (5, 7), Stack((0, 1, 2), affine(), (0.7, 0.9, 4.0)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_wrong_shape_and_wrong_count_are_refused(tmp_path):
    stack = Stack((0, 1, 2), None, (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match=r"\(5, 7\) was expected, got \(4, 7\)"):
        write_nifti(tmp_path / "a.nii.gz", images(shape=(4, 7)), (5, 7), stack)
    with pytest.raises(InputError, match="3 slices were expected, got 2"):
        write_nifti(tmp_path / "a.nii.gz", images(2), (5, 7), stack)


def test_a_sheared_stack_has_no_qform_that_says_otherwise(tmp_path):
    """Slices that are not stacked along their normal: a qform has right angles only, the sform says it."""
    lps = affine()
    lps[:3, 2] = [1.5, 0.0, 4.0]
    write_nifti(tmp_path / "a.nii.gz", images(), (5, 7), Stack((0, 1, 2), lps, (0.7, 0.9, 4.27)))
    read = nibabel.load(tmp_path / "a.nii.gz")
    assert (int(read.header["qform_code"]), int(read.header["sform_code"])) == (0, 1)
    np.testing.assert_allclose(read.affine, lps_to_ras(lps), atol=1e-5)
