"""BART files."""

from __future__ import annotations

import numpy as np
import pytest
from rawfiles import coil_kspace, fft2c, ifft2c, letter_f, write_cfl

from mrunfold.errors import InputError
from mrunfold.io import data_crimes, open_scan


def write(path, data, dims=None):
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims or data.shape)) + " \n")
    path.write_bytes(np.asarray(data, "<c8").tobytes(order="F"))
    return path


@pytest.fixture
def kspace():
    return coil_kspace(np.stack([letter_f((24, 20)), letter_f((24, 20))[::-1]]), coils=3)


def test_one_slice(tmp_path, kspace):
    with open_scan(write_cfl(tmp_path / "a.cfl", kspace[0])) as scan:
        header = scan.header
        assert (header.format, header.slices, header.coils, header.matrix) == ("cfl", 1, 3, (24, 20))
        assert (header.unoversampled, header.crop, header.pixel_mm) == (24, (24, 20), None)
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])
        assert scan.kspace(0).dtype == np.complex64
        assert scan.acquired(0).all()


def test_slices_are_dimension_13(tmp_path, kspace):
    data = kspace.transpose(2, 3, 1, 0).reshape(24, 20, 1, 3, *[1] * 9, 2, 1, 1)
    with open_scan(write(tmp_path / "a.cfl", data)) as scan:
        assert len(scan) == 2
        for index in range(2):
            np.testing.assert_array_equal(scan.kspace(index), kspace[index])


def test_undersampling_is_seen(tmp_path, kspace):
    kspace[0][..., 1::2] = 0
    with open_scan(write_cfl(tmp_path / "a.cfl", kspace[0])) as scan:
        np.testing.assert_array_equal(scan.acquired(0).any(axis=0), np.arange(20) % 2 == 0)


@pytest.mark.parametrize(
    ("dims", "word"),
    [
        ((23, 18, 8), "bart transpose 2 3"),
        ((23, 18, 8, 4), "bart transpose 2 13"),
        ((23, 18, 1, 4, 2), "BART dimension 4 is 2"),
        ((23, 18, 1, 4, 1, 1, 5), "BART dimension 6 is 5.*`bart slice 6 0 in out`"),
        ((23, 1, 1, 4), "no 2-D k-space"),
        ((1, 1, 1, 4), "no 2-D k-space"),
    ],
)
def test_dimensions_that_are_not_guessed(tmp_path, dims, word):
    with pytest.raises(InputError, match=word):
        open_scan(write(tmp_path / "a.cfl", np.ones(dims)))


@pytest.mark.parametrize(
    "text", ["", "# Dimensions", "# Dimensions\n3 -4", "# Dimensions\nabc", "3 4 1 2", "\0\xff"]
)
def test_headers_that_are_none(tmp_path, kspace, text):
    path = write_cfl(tmp_path / "a.cfl", kspace[0])
    path.with_suffix(".hdr").write_text(text)
    with pytest.raises(InputError, match="dimensions"):
        open_scan(path)


@pytest.mark.parametrize("dims", ["24 20 1 4", "24 20 1 2", "100000 100000 1 10000"])
def test_the_size_must_be_that_of_the_file(tmp_path, kspace, dims):
    path = write_cfl(tmp_path / "a.cfl", kspace[0])
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{dims}\n")
    with pytest.raises(InputError, match=r"has 11520 bytes where its \.hdr says"):
        open_scan(path)


def test_nan(tmp_path, kspace):
    kspace[0, 1, 3, 4] = np.inf
    with (
        open_scan(write_cfl(tmp_path / "a.cfl", kspace[0])) as scan,
        pytest.raises(InputError, match="slice 0 has NaN"),
    ):
        scan.kspace(0)


def test_an_f_keeps_its_orientation(tmp_path):
    image = letter_f((48, 40))
    with open_scan(write_cfl(tmp_path / "a.cfl", fft2c(image)[None])) as scan:
        np.testing.assert_allclose(np.abs(ifft2c(scan.kspace(0)[0])), image, atol=1e-5)


def test_a_real_scan(shared_data):
    """Its dimensions are 1 230 180 8: two phase encodings, a slice of a 3-D scan, and eight coils."""
    with open_scan(shared_data / "kspace" / "brain_8ch_full.cfl") as scan:
        assert (scan.header.slices, scan.header.coils, scan.header.matrix) == (1, 8, (230, 180))
        kspace = scan.kspace(0)
        peak = np.unravel_index(np.abs(kspace).sum(0).argmax(), (230, 180))
        assert np.abs(np.array(peak) - (115, 90)).max() <= 2
        assert scan.acquired(0).all()
        assert data_crimes(kspace, scan.acquired(0), scan.header) == ()


def test_what_was_acquired_is_that_of_the_slice_whichever_was_read_last(tmp_path):
    kspace = np.ones((6, 5, 1, 2, *[1] * 9, 3), np.complex64)
    kspace[1, 2, 0, :, ..., 0] = 0
    kspace[3, 4, 0, 1, ..., 1] = 0  # the other coil has it
    kspace[:, 0, 0, :, ..., 2] = 0
    kspace[2, 0, 0, 1, ..., 2] = 1j
    with open_scan(write(tmp_path / "a.cfl", kspace)) as scan:
        for order in ((0, 1, 2), (2, 1, 0), (1, 1, -1)):
            for index in order:
                scan.kspace(0)
                held = (kspace[..., index] != 0).any(axis=3).reshape(6, 5)
                np.testing.assert_array_equal(scan.acquired(index), held)
                scan.kspace(index)
                found = scan.acquired(index)
                np.testing.assert_array_equal(found, held)
                found[:] = False  # the caller's own
                np.testing.assert_array_equal(scan.acquired(index), held)
