"""fastMRI files and their quirks."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, fft2c, header_xml, ifft2c, letter_f, write_fastmri

from mrunfold.errors import InputError
from mrunfold.io import crop_image, open_scan, remove_oversampling


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((48, 40)), letter_f((48, 40))[::-1]]), coils=3, readout=96)


def rss(kspace: np.ndarray) -> np.ndarray:
    return np.linalg.norm(ifft2c(kspace), axis=0)


def edit(path, **members):
    with h5py.File(path, "r+") as file:
        for name, value in members.items():
            if name in file:
                del file[name]
            if value is not None:
                file[name] = value
    return path


def test_multicoil(tmp_path, kspace):
    path = write_fastmri(tmp_path / "scan.h5", kspace, crop=(48, 40), pixel_mm=(0.8, 0.9))
    with open_scan(path) as scan:
        header = scan.header
        assert (len(scan), header.slices, header.coils, header.matrix) == (2, 2, 3, (96, 40))
        assert (header.unoversampled, header.crop, header.padding) == (48, (48, 40), (0, 40))
        assert header.pixel_mm == pytest.approx((0.8, 0.9))
        assert header.slice_mm == 5
        assert (header.acquisition, header.geometry, header.simulated) == ("AXT2", None, False)
        for index in range(2):
            np.testing.assert_array_equal(scan.kspace(index), kspace[index])
            assert scan.kspace(index).dtype == np.complex64
            assert scan.acquired(index).all()
            image = crop_image(rss(remove_oversampling(scan.kspace(index), header)), header.crop)
            np.testing.assert_allclose(image, scan.reference(index), atol=1e-6)
            assert scan.reference(index).dtype == np.float32
        np.testing.assert_array_equal(scan.kspace(-1), kspace[1])
        with pytest.raises(InputError, match="no slice 2; it has 2"):
            scan.kspace(2)


def test_single_coil(tmp_path, kspace):
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace, crop=(48, 40)), kspace=kspace[:, 0])
    image = np.ones((2, 48, 40), np.float32)
    edit(path, reconstruction_rss=None, reconstruction_esc=image)
    with open_scan(path) as scan:
        assert scan.header.coils == 1
        np.testing.assert_array_equal(scan.kspace(1), kspace[1, :1])
        np.testing.assert_array_equal(scan.reference(1), image[1])


def test_complex128_becomes_complex64(tmp_path, kspace):
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace), kspace=kspace.astype(np.complex128))
    assert open_scan(path).kspace(0).dtype == np.complex64


def test_zero_filling_on_both_sides_is_known(tmp_path, kspace):
    """padding_left = enc.y//2 − centre, padding_right = padding_left + maximum + 1, as fastMRI has it."""
    padded = kspace.copy()
    padded[..., :5] = 0
    padded[..., 36:] = 0
    path = write_fastmri(tmp_path / "scan.h5", padded)
    xml = header_xml(padded, (96, 40)).replace(
        "<maximum>39</maximum><center>20", "<maximum>30</maximum><center>15"
    )
    edit(path, ismrmrd_header=xml)
    with open_scan(path) as scan:
        assert scan.header.padding == (5, 36)
        expected = np.zeros((96, 40), bool)
        expected[:, 5:36] = True
        np.testing.assert_array_equal(scan.acquired(0), expected)
    # With a test file's mask, what lies in the padding is not acquired whatever the mask says.
    edit(path, mask=np.ones(40))
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.acquired(0), expected)


def test_a_test_file_has_a_mask(tmp_path, kspace):
    mask = np.zeros(40, np.uint8)
    mask[::3] = 1
    with open_scan(write_fastmri(tmp_path / "scan.h5", kspace, mask=mask)) as scan:
        np.testing.assert_array_equal(scan.acquired(0), np.broadcast_to(mask > 0, (96, 40)))
        np.testing.assert_array_equal(scan.kspace(0)[..., mask == 0], 0)
        np.testing.assert_array_equal(scan.kspace(0)[..., mask == 1], kspace[0][..., mask == 1])


@pytest.mark.parametrize("shape", [(40,), (1, 40), (40, 1), (1, 1, 40, 1), (1, 1, 1, 40)])
def test_a_mask_may_have_axes_of_one(tmp_path, kspace, shape):
    mask = (np.arange(40) % 3 == 0).reshape(shape)
    with open_scan(write_fastmri(tmp_path / "scan.h5", kspace, mask=mask)) as scan:
        np.testing.assert_array_equal(scan.acquired(0), np.broadcast_to(mask.ravel(), (96, 40)))


@pytest.mark.parametrize("shape", [(39,), (96,), (2, 40), (40, 96)])
def test_a_mask_of_another_size_is_refused(tmp_path, kspace, shape):
    path = write_fastmri(tmp_path / "scan.h5", kspace, mask=np.ones(shape))
    with pytest.raises(InputError, match=r"write it as \(40,\) or \(96, 40\)"):
        open_scan(path)


def test_a_mask_of_what_was_left_out_is_refused(tmp_path, kspace):
    """It keeps nothing: the image was written as zeros."""
    mask = np.arange(40) % 2 == 0
    path = write_fastmri(tmp_path / "scan.h5", np.where(mask, kspace, 0), mask=~mask)
    with pytest.raises(InputError, match=r"keeps none of the 1920 samples of slice 1.*its opposite"):
        open_scan(path)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda k: np.stack([k.real, k.imag], axis=-1), "k.take(0, 4) + 1j * k.take(1, 4)"),
        (lambda k: np.stack([k.real, k.imag], axis=1)[:1], "k.take(0, 1) + 1j * k.take(1, 1)"),
        (lambda k: np.abs(k[:1]), "cannot be had out of magnitudes"),
        (lambda k: k[0, 0], "write k[None]"),
        (lambda k: np.ascontiguousarray(k).view([("re", "f4"), ("im", "f4")]), "k['re'] + 1j * k['im']"),
    ],
)
def test_what_is_not_complex_is_refused_with_what_to_write(tmp_path, kspace, change, advice):
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace), kspace=change(kspace))
    with pytest.raises(InputError, match="must be complex") as refused:
        open_scan(path)
    assert advice in str(refused.value)


def test_lines_that_are_zero_were_not_acquired(tmp_path, kspace):
    undersampled = kspace.copy()
    undersampled[..., 1::2] = 0
    undersampled[0, 0, :, 0] = 0  # one coil of a line that was acquired
    with open_scan(write_fastmri(tmp_path / "scan.h5", undersampled)) as scan:
        assert scan.acquired(0)[:, ::2].all()
        assert not scan.acquired(0)[:, 1::2].any()


@pytest.mark.parametrize(
    ("asked", "crop"),
    [((48, 40), (48, 40)), ((40, 20), (40, 20)), ((48, 60), (40, 40)), ((32, 40), (32, 40))],
)
def test_crop(tmp_path, kspace, asked, crop):
    """reconSpace; where that is wider than k-space, a square of the width, of the file's images too."""
    path = write_fastmri(tmp_path / "scan.h5", kspace, rss=False)
    images = np.random.default_rng(0).random((2, *asked), dtype=np.float32)
    edit(path, ismrmrd_header=header_xml(kspace, asked), reconstruction_rss=images)
    with open_scan(path) as scan:
        assert scan.header.crop == crop
        assert scan.header.unoversampled >= crop[0]
        np.testing.assert_array_equal(scan.reference(0), crop_image(images[0], crop))


def test_images_larger_than_the_field_of_view(tmp_path, kspace):
    """Some brain files: reconSpace has more pixels than its field of view has samples."""
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace, rss=False), ismrmrd_header=None)
    xml = header_xml(kspace, (60, 40)).replace("<x>60.0</x>", "<x>48.0</x>")
    assert "<x>48.0</x>" in xml
    with open_scan(edit(path, ismrmrd_header=xml)) as scan:
        assert (scan.header.crop, scan.header.unoversampled) == ((60, 40), 60)
        assert scan.header.pixel_mm == (1.0, 1.0)


def test_without_a_header(tmp_path, kspace):
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace, crop=(48, 36)), ismrmrd_header=None)
    with open_scan(path) as scan:
        assert (scan.header.crop, scan.header.unoversampled) == ((48, 36), 48)
        assert scan.header.padding is None
        assert scan.header.pixel_mm is None
    with open_scan(edit(path, reconstruction_rss=None)) as scan:
        assert (scan.header.crop, scan.header.unoversampled) == ((96, 40), 96)
        assert scan.reference(0) is None
        assert scan.acquired(0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, complex(0, -np.inf)])
def test_nan_says_which_slice(tmp_path, kspace, value):
    broken = kspace.copy()
    broken[1, 2, 20, 20] = value
    with open_scan(write_fastmri(tmp_path / "scan.h5", broken, rss=False)) as scan:
        scan.kspace(0)
        with pytest.raises(InputError, match=r"slice 1 has NaN or infinite k-space .*coil 2"):
            scan.kspace(1)


@pytest.mark.parametrize(
    ("member", "value", "word"),
    [
        ("kspace", np.zeros((2, 3)), "kspace"),
        ("kspace", np.zeros((2, 3, 4, 5, 6), np.complex64), "kspace"),
        ("kspace", np.zeros((2, 3, 96, 40), np.float32), "must be complex"),
        ("kspace", np.zeros((0, 3, 96, 40), np.complex64), "kspace"),
        ("kspace", "text", "must be complex"),
        ("kspace", h5py.Empty("f"), "empty"),
        ("mask", np.ones(43), "40 phase lines.*43"),
        ("mask", "text", "mask"),
        ("reconstruction_rss", np.ones((3, 48, 40)), "2 slices"),
        ("ismrmrd_header", 3.5, "text"),
        ("ismrmrd_header", "<ismrmrdHeader/>", "<encoding>"),
        ("ismrmrd_header", "<ismrmrdHeader>", "not well-formed"),
        ("ismrmrd_header", b"<\xff\xfe", "UTF-8"),
    ],
)
def test_bad_members(tmp_path, kspace, member, value, word):
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace), **{member: value})
    with pytest.raises(InputError, match=word):
        open_scan(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<x>96</x>", "<x>abc</x>"),
        ("<x>96</x>", "<x>-96</x>"),
        ("<x>96</x>", "<x>99999999999999999999</x>"),
        ("<x>96</x>", ""),
        ("<x>96.0</x>", "<x>nan</x>"),
        ("<center>20</center>", "<center>CANARY</center>"),
        ("<?xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><?xml"),
        ("<trajectory>", "<!ENTITY x 'y'><trajectory>"),
    ],
)
def test_bad_headers(tmp_path, kspace, old, new):
    xml = header_xml(kspace, (96, 40))
    assert old in xml
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace), ismrmrd_header=xml.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        open_scan(path)
    assert "CANARY" not in str(caught.value)


def test_nothing_of_a_patient_leaves_the_header(tmp_path, kspace, caplog):
    """Every text of the header is a canary; none may be seen in what the reader returns or logs."""
    texts = {
        "studyInformation": "studyDate studyTime studyID accessionNumber studyDescription bodyPartExamined",
        "subjectInformation": "patientName patientID patientBirthdate patientGender",
        "measurementInformation": "measurementID patientPosition protocolName frameOfReferenceUID",
        "acquisitionSystemInformation": "systemVendor systemModel institutionName stationName deviceID",
        "sequenceParameters": "sequence_type",
    }
    extra = "".join(
        f"<{group}>{''.join(f'<{name}>CANARY</{name}>' for name in names.split())}</{group}>"
        for group, names in texts.items()
    )
    xml = header_xml(kspace, (48, 40)).replace("<encoding>", extra + "<encoding>", 1)
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace, crop=(48, 40)), ismrmrd_header=xml)
    with h5py.File(path, "r+") as file:
        file.attrs["acquisition"] = "CANARY"
    with caplog.at_level("DEBUG"), open_scan(path) as scan:
        assert "CANARY" not in repr(scan.header)
        assert scan.header.acquisition is None
    assert "CANARY" not in caplog.text


def test_settings_are_allow_listed(tmp_path, kspace):
    extra = (
        "<sequenceParameters><TR>2000</TR><TE>9.5</TE><TE>99</TE><flipAngle_deg>15</flipAngle_deg></sequenceParameters>"
        "<measurementInformation><patientPosition>HFS</patientPosition></measurementInformation>"
        "<studyInformation><bodyPartExamined>knee</bodyPartExamined></studyInformation>"
    )
    xml = header_xml(kspace, (48, 40)).replace("<encoding>", extra + "<encoding>", 1)
    xml = xml.replace(
        "<receiverChannels>", "<systemFieldStrength_T>2.89</systemFieldStrength_T><receiverChannels>"
    )
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace, crop=(48, 40)), ismrmrd_header=xml)
    assert open_scan(path).header.contrast == {
        "TR_ms": 2000, "TE_ms": 9.5, "flip_deg": 15, "field_T": 2.89,
        "patient_position": "HFS", "body_part": "KNEE",
    }  # fmt: skip


def test_an_f_keeps_its_orientation(tmp_path):
    image = letter_f((48, 40))
    k = fft2c(image)[None, None]
    with open_scan(write_fastmri(tmp_path / "scan.h5", k)) as scan:
        np.testing.assert_allclose(np.abs(ifft2c(scan.kspace(0)[0])), image, atol=1e-5)


@pytest.mark.parametrize("encoded", [65535, 7])
def test_padding_that_cannot_be_true_is_unknown(tmp_path, kspace, caplog, encoded):
    xml = header_xml(kspace, (48, 40)).replace("<y>40</y>", f"<y>{encoded}</y>", 1)
    path = edit(write_fastmri(tmp_path / "scan.h5", kspace, crop=(48, 40)), ismrmrd_header=xml.encode())
    with open_scan(path) as scan:
        assert scan.header.padding is None
        assert scan.acquired(0).all()
    assert "make no sense" in caplog.text
