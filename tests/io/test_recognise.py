"""The format is recognised from the content; what is no raw data is refused in one line that helps."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_cfl, write_fastmri, write_mrd

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.recognise import holds_raw_data


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((24, 20))] * 2), coils=2)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_scan(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", ["scan.h5", "scan.dat", "scan"])
def test_the_name_does_not_matter(tmp_path, kspace, name):
    with open_scan(write_fastmri(tmp_path / name, kspace)) as scan:
        assert scan.header.format == "fastmri"
    (tmp_path / name).unlink()
    with open_scan(str(write_mrd(tmp_path / name, kspace))) as scan:
        assert scan.header.format == "mrd"


@pytest.mark.parametrize("name", ["scan.v1.cfl", "scan.v1.hdr", "scan.v1"])
def test_either_half_of_a_pair_or_its_stem(tmp_path, kspace, name):
    data = kspace[0].transpose(1, 2, 0)[:, :, None, :]
    (tmp_path / "scan.v1.hdr").write_text("# Dimensions\n" + " ".join(map(str, data.shape)) + "\n")
    (tmp_path / "scan.v1.cfl").write_bytes(data.astype("<c8").tobytes(order="F"))
    with open_scan(tmp_path / name) as scan:
        assert scan.header.format == "cfl"
        assert scan.path.name == "scan.v1.cfl"
        np.testing.assert_array_equal(scan.kspace(0), kspace[0])


def test_nothing_there(tmp_path):
    for name in ("missing.h5", "missing.cfl", "missing.hdr", "missing"):
        assert "no such file" in refusal(tmp_path / name)


def test_half_a_pair(tmp_path, kspace):
    path = write_cfl(tmp_path / "scan.cfl", kspace[0])
    path.with_suffix(".hdr").rename(tmp_path / "other.hdr")
    with pytest.raises(InputError, match=r"scan\.hdr: no such file; a BART file is a pair"):
        open_scan(path)
    with pytest.raises(InputError, match=r"other\.cfl: no such file"):
        open_scan(tmp_path / "other.hdr")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"hello", "not raw data"),
        (bytes(4096), "not raw data"),
        (bytes(128) + b"DICM" + bytes(300), "k-space cannot be had out of DICOM"),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(300), "DICOM"),
        (b"\x00\x00\x00\x00\x02\x00\x00\x00" + bytes(400), "Siemens raw data"),
        (b"\x00\x7c\x00\x00\x05\x00\x00\x00Config\x00<XProtocol>" + bytes(300), "protocol of measurement 1"),
        (b"\x5c\x01\x00\x00" + bytes(340) + b"n+1\x00" + bytes(100), "NIfTI"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "MATLAB"),
        (gzip.compress(b"x" * 100, mtime=0), "not raw data"),
    ],
)
def test_other_files(tmp_path, content, word):
    path = tmp_path / "scan.h5"
    path.write_bytes(content)
    assert word in refusal(path)


def test_a_folder(tmp_path):
    assert "folder" in refusal(tmp_path)


def test_real_twix(shared_data):
    for path in (shared_data / "kspace").glob("twix_*.dat"):
        assert holds_raw_data(path)
        if "_epi_" not in path.name:
            with open_scan(path) as scan:
                assert scan.header.format == "twix"


def test_a_dat_file_of_another_program_is_no_raw_data(tmp_path):
    (tmp_path / "other.dat").write_bytes(b"\x00\x00\x00\x00\x02\x00\x00\x00" + bytes(30_000))
    assert not holds_raw_data(tmp_path / "other.dat")


def test_hdf5_without_kspace_says_what_it_holds(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros((3, 4))
    message = refusal(tmp_path / "other.h5")
    assert "without k-space" in message
    assert "image" in message


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.6, 0.99])
def test_a_truncated_file(tmp_path, kspace, kept):
    for name, write in (("f.h5", write_fastmri), ("m.h5", write_mrd)):
        data = write(tmp_path / name, kspace).read_bytes()
        (tmp_path / name).write_bytes(data[: int(kept * len(data))])
        assert "is locked" not in refusal(tmp_path / name)  # HDF5 names its "sblock" there
