"""Files in fastMRI's format whose axes, masks or lines are not what fastMRI's are."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, header_xml, ifft2c, letter_f, write_fastmri

from mrunfold.errors import InputError
from mrunfold.io import open_scan

SHAPE = (96, 40)  # twice oversampled along the readout


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((48, 40)), letter_f((48, 40))[::-1]]), coils=4, readout=96)


def stored(tmp_path, **members):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            file[name] = value
    return path


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        open_scan(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestCoilsLast:
    def test_by_sense(self, tmp_path, kspace):
        path = stored(tmp_path, kspace=kspace.transpose(0, 2, 3, 1))
        message = refusal(path)
        assert "96 coils of 40×4" in message
        assert "k.transpose(0, 3, 1, 2)" in message

    def test_by_the_header(self, tmp_path, kspace):
        """Coils and lines of usual numbers: only the header knows."""
        k = kspace.transpose(0, 2, 3, 1)[:, 30:62]
        assert "its last axis seems to be the coils" in refusal(
            stored(tmp_path, kspace=k, ismrmrd_header=header_xml(kspace, (48, 40)))
        )

    @pytest.mark.parametrize("coils", [40, 64])
    def test_by_the_energy(self, tmp_path, coils):
        """As many coils as lines, and no header: energy lies about the centre of k-space's axes."""
        k = coil_kspace(letter_f((64, 48))[None], coils=coils).transpose(0, 2, 3, 1)
        assert "coils are last" in refusal(stored(tmp_path, kspace=k))

    def test_one_coil_that_is_all_noise(self, tmp_path):
        """A broken one near the middle of the coils, louder than the others' signal."""
        k = coil_kspace(letter_f((64, 48))[None], coils=8)
        noise = np.random.default_rng(0).standard_normal((2, 64, 48))
        k[:, 3] = 3 * np.sqrt((np.abs(k) ** 2).mean()) * 10 * (noise[0] + 1j * noise[1])
        with open_scan(stored(tmp_path, kspace=k)) as scan:
            assert scan.header.coils == 8

    def test_one_coil_that_outshines_the_others(self, tmp_path):
        k = coil_kspace(letter_f((64, 48))[None], coils=16)
        k[:, 8] *= 30
        with open_scan(stored(tmp_path, kspace=k)) as scan:
            assert scan.header.coils == 16

    def test_coils_first(self, tmp_path, kspace):
        k = np.concatenate([kspace, kspace[:1]]).swapaxes(0, 1)
        xml = header_xml(k.swapaxes(0, 1), (48, 40))
        assert "k.swapaxes(0, 1)" in refusal(stored(tmp_path, kspace=k, ismrmrd_header=xml))

    @pytest.mark.parametrize("shape", [(1, 64, 64, 64), (1, 32, 40, 36), (1, 128, 256, 40)])
    def test_many_coils_are_read(self, tmp_path, shape):
        rng = np.random.default_rng(0)
        k = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
        with open_scan(stored(tmp_path, kspace=k)) as scan:
            assert scan.header.coils == shape[1]


class TestPhaseFirst:
    def test_by_the_header(self, tmp_path, kspace):
        path = stored(tmp_path, kspace=kspace.swapaxes(-1, -2), ismrmrd_header=header_xml(kspace, (48, 40)))
        assert "k.swapaxes(-1, -2)" in refusal(path)

    def test_by_missing_lines(self, tmp_path, kspace):
        some = np.where(np.arange(40) % 2 == 0, kspace, 0).swapaxes(-1, -2)
        with open_scan(stored(tmp_path, kspace=some)) as scan:
            assert "lines are missing along the readout axis" in scan.header.notes[0]

    def test_points_are_no_lines(self, tmp_path, kspace):
        """Masks of points and partial echoes are as they should be."""
        points = np.random.default_rng(0).random(SHAPE) < 0.5
        points[40:56, 16:24] = True
        for keep in (points, np.arange(96)[:, None] > 30):
            with open_scan(stored(tmp_path, kspace=np.where(keep, kspace, 0))) as scan:
                assert scan.header.notes == ()


class TestAverages:
    @pytest.fixture
    def averages(self, kspace) -> np.ndarray:
        """(average, slice, …): odd lines twice, even lines once, as in fastMRI's prostate files."""
        odd = np.arange(40) % 2 == 1
        return np.stack(
            [np.where(odd, 1.1 * kspace, 0), np.where(odd, 0.9 * kspace, 0), np.where(odd, 0, kspace)]
        )

    @pytest.mark.parametrize("first", [True, False])
    def test_of_a_file_that_says_its_slices(self, tmp_path, kspace, averages, first):
        images = np.sqrt((np.abs(ifft2c(kspace)) ** 2).sum(axis=1)).astype(np.float32)
        k = averages if first else averages.swapaxes(0, 1)
        for known in ({"reconstruction_rss": images}, {"ismrmrd_header": header_xml(kspace, (48, 40))}):
            with open_scan(stored(tmp_path, kspace=k.astype(np.complex64), **known)) as scan:
                assert (scan.header.slices, scan.header.coils, scan.header.matrix) == (2, 4, SHAPE)
                np.testing.assert_allclose(scan.kspace(1), kspace[1], atol=1e-6)
                assert scan.acquired(0).all()
                assert "3 averages are averaged" in scan.header.notes[0]

    def test_of_a_file_that_does_not(self, tmp_path, averages):
        message = refusal(stored(tmp_path, kspace=averages.astype(np.complex64)))
        assert "if the first has 3 averages" in message
        assert "k.sum(0)" in message

    def test_nan_in_any_of_them(self, tmp_path, kspace, averages):
        averages[2, 1, 0, 5, 6] = np.nan
        path = stored(
            tmp_path, kspace=averages.astype(np.complex64), ismrmrd_header=header_xml(kspace, (48, 40))
        )
        with open_scan(path) as scan, pytest.raises(InputError, match="slice 1 has NaN"):
            scan.kspace(1)


class TestNothingIsDroppedUnsaid:
    def test_a_mask_beside_full_kspace(self, tmp_path, kspace):
        keep = np.zeros(40, np.float32)
        keep[::4] = keep[16:24] = 1
        path = stored(tmp_path, kspace=kspace, mask=keep)
        with open_scan(path) as scan:
            left_out = int((keep == 0).sum()) * 96
            assert f"holds {left_out} of 3840 samples outside of the file's own mask" in scan.header.notes[0]
            assert "delete the dataset 'mask'" in scan.header.notes[0]

    def test_a_mask_that_fits(self, tmp_path, kspace):
        keep = np.zeros(40, np.float32)
        keep[::4] = keep[16:24] = 1
        with open_scan(stored(tmp_path, kspace=kspace * keep, mask=keep)) as scan:
            assert scan.header.notes == ()

    def test_samples_where_the_header_has_zero_filling(self, tmp_path, kspace):
        xml = header_xml(kspace, (48, 40)).replace(
            "<maximum>39</maximum><center>20", "<maximum>30</maximum><center>15"
        )
        with open_scan(stored(tmp_path, kspace=kspace, ismrmrd_header=xml)) as scan:
            np.testing.assert_array_equal(scan.kspace(0), kspace[0])
            assert scan.header.padding is None
            assert "outside of 5 to 35 zero filling and they hold samples" in scan.header.notes[0]


def test_a_locked_file(tmp_path, kspace):
    import subprocess
    import sys

    path = write_fastmri(tmp_path / "scan.h5", kspace)
    # Another process: HDF5 knows the files that this one has open.
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "open\n"
        message = refusal(path)
        writer.communicate("")
    assert "is locked" in message
    assert "HDF5_USE_FILE_LOCKING=FALSE" in message
    open_scan(path).close()


def test_a_file_system_without_locks(tmp_path, kspace, monkeypatch):
    path = write_fastmri(tmp_path / "scan.h5", kspace)

    def refuse(*args, **kwargs):
        raise OSError(
            37, "Unable to synchronously open file (unable to lock file, errno = 37, 'No locks available')"
        )

    monkeypatch.setattr(h5py, "File", refuse)
    assert "its file system has no locks" in refusal(path)


class TestStreams:
    def test_of_ismrmrd(self, tmp_path, kspace):
        from ismrmrd import Acquisition, xsd
        from ismrmrd.serialization import ProtocolSerializer

        with open(tmp_path / "scan.h5", "wb") as file:
            stream = ProtocolSerializer(file)
            stream.serialize(xsd.CreateFromDocument(header_xml(kspace, (48, 40))))
            stream.serialize(Acquisition.from_array(np.ascontiguousarray(kspace[0, :, :, 0])))
            stream.close()
        assert "ismrmrd_stream_to_hdf5" in refusal(tmp_path / "scan.h5")

    @pytest.mark.parametrize(
        "start",
        [
            b"\x01\x00" + b"default.xml".ljust(1024, b"\0") + b"\x03\x00\x10\x00\x00\x00<?xml",
            b"\x02\x00\x10\x00\x00\x00<?xml version=",
            b"yardl" + bytes(40),
        ],
    )
    def test_that_begin_otherwise(self, tmp_path, start):
        (tmp_path / "scan.mrd").write_bytes(start + bytes(2000))
        assert "ismrmrd_stream_to_hdf5" in refusal(tmp_path / "scan.mrd")
