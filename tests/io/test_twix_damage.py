"""Damaged Siemens raw data: one line that says so, whatever is wrong, and quickly."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f
from twixfiles import protocol, readouts_of, write_twix, write_vb
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.io import open_scan

BEGIN = 10240  # of the first measurement, as twixtools and scanners write it
TEXTS = protocol(24, 20)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(letter_f((24, 20))[None], 2, readout=48).conj()


@pytest.fixture
def path(tmp_path, kspace):
    return write_twix(tmp_path / "meas.dat", [(TEXTS, readouts_of(kspace))])


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        open_scan(path).close()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def patched(path, at: int, kind: str, *values: int) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, at, *values)
    path.write_bytes(data)


def first_readout(path) -> int:
    """Byte where the first readout's header lies."""
    return BEGIN + struct.unpack_from("<I", path.read_bytes(), BEGIN)[0]


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("version", ["VD", "VB"])
def test_truncated(tmp_path, kspace, path, kept, version):
    if version == "VB":
        write_vb(path, TEXTS, readouts_of(kspace))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert "copy it again" in refusal(path)


@pytest.mark.parametrize(
    ("at", "kind", "value"),
    [
        (16, "<Q", 2**50),  # where the measurement begins
        (16, "<Q", 0),
        (24, "<Q", 2**50),  # its length: with a truncated file, a loop over it would never end
        (24, "<Q", 100),
        (4, "<I", 64),  # how many measurements there are
        (BEGIN, "<I", 2**31),  # length of the protocol
        (BEGIN, "<I", 3),
        (BEGIN + 4, "<I", 2**31),  # how many parts it has
        (BEGIN + 4, "<I", 9),
        (BEGIN + 8 + len("Config") + 1, "<I", 2**31),  # length of a part
    ],
)
def test_sizes_that_lie(path, at, kind, value):
    patched(path, at, kind, value)
    assert refusal(path)


@pytest.mark.parametrize(("samples", "channels"), [(65535, 65535), (65535, 2), (48, 4000)])
def test_readouts_that_do_not_fit(path, samples, channels):
    patched(path, first_readout(path) + 48, "<HH", samples, channels)
    assert "copy it again" in refusal(path)


def test_a_length_of_zero_is_that_of_the_file(path, kspace):
    """Files that are exported while the scan runs have it, as the real 16-channel one."""
    patched(path, 24, "<Q", 0)
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.kspace(0), kspace[0].conj())


def test_a_hole_at_the_end_is_an_unfinished_scan(path):
    """A copy that stopped leaves zeros: the lines before them are there, and the slice is not whole."""
    data = bytearray(path.read_bytes())
    each = 192 + 2 * (32 + 8 * 48)
    begin = first_readout(path) + 6 * each
    data[begin:] = bytes(len(data) - begin)
    path.write_bytes(data)
    with open_scan(path) as scan, pytest.raises(InputError, match=r"6 of 20 lines|none near the centre"):
        scan.require([0])


def test_what_is_not_finite_is_refused(tmp_path, kspace):
    bad = kspace.copy()
    bad[0, 1, 3, 4] = np.nan
    path = write_twix(tmp_path / "meas.dat", [(TEXTS, readouts_of(bad))])
    with open_scan(path) as scan, pytest.raises(InputError, match="coil 1"):
        scan.kspace(0)


def test_an_index_of_the_protocol_is_no_size(tmp_path, kspace):
    """A list is not made as long as a line of text says."""
    more = "sSliceArray.asSlice[999999999].dThickness\t = \t5.0\nalTR[999999999]\t = \t5\n"
    more += "sSliceArray.asSlice[0].sNormal[99999999].dTra\t = \t1.0\n"
    path = write_twix(tmp_path / "meas.dat", [(protocol(24, 20, more=more), readouts_of(kspace))])
    with open_scan(path) as scan:
        assert scan.header.contrast["TR_ms"] == 2500.0


@pytest.mark.parametrize(
    "more",
    [
        "sKSpace\t = \t3\n",
        "sSliceArray.asSlice\t = \t3\n",
        "alTR.x\t = \t3\n",
        "sKSpace.lBaseResolution.x\t = 3\n",
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused_or_read(tmp_path, kspace, more):
    texts = protocol(24, 20)
    texts["MeasYaps"] = texts["MeasYaps"].replace("alTR[0]", f"{more}alTR[0]")
    path = write_twix(tmp_path / "meas.dat", [(texts, readouts_of(kspace))])
    try:
        scan = open_scan(path)
    except InputError as error:
        said = str(error)
    else:
        scan.close()
        said = " ".join(scan.header.notes)
    assert "protocol" in said or scan.header.matrix == (48, 20)


def test_without_a_protocol_nothing_is_invented(tmp_path, kspace):
    path = write_twix(tmp_path / "meas.dat", [({"Config": "<XProtocol> { }"}, readouts_of(kspace))])
    with open_scan(path) as scan:
        assert scan.header.pixel_mm is None
        assert scan.header.contrast == {}
        assert scan.header.crop == scan.header.matrix == (48, 20)
        np.testing.assert_array_equal(scan.kspace(0), kspace[0].conj())


def test_a_file_that_shrinks_while_it_is_read(path):
    with open_scan(path) as scan:
        os.truncate(path, 20_000)
        with pytest.raises(InputError, match="ends within readout"):
            scan.kspace(0)


def test_the_command_line_says_it_in_one_line(tmp_path, path):
    path.write_bytes(path.read_bytes()[:20_000])
    result = CliRunner().invoke(main.app, ["recon", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
