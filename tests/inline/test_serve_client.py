"""What the server and its client take, say and leave out: names, headers, other messages, refusals."""

from __future__ import annotations

import ctypes
import io
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ProtocolSerializer
from rawfiles import coil_kspace, letter_f, write_mrd
from serving import COILS, SHAPE, begun, image_message, logged, serving, settled, stream, throw
from typer.testing import CliRunner

from mrunfold.cli import main
from mrunfold.errors import InputError
from mrunfold.inline import Server
from mrunfold.inline.client import Source
from mrunfold.inline.connection import HEAD_BYTES
from mrunfold.inline.messages import config_name
from mrunfold.methods.zero_filled import ZeroFilled


def test_nothing_that_names_a_person_is_logged_or_sent(tmp_path, known):
    path = write_mrd(tmp_path / "scan.h5", coil_kspace(letter_f(SHAPE)[None], COILS))
    with h5py.File(path, "r+") as file:
        xml = file["dataset/xml"][0].decode()
        named = (
            "<subjectInformation><patientName>CANARY</patientName></subjectInformation><studyInformation>"
            "<studyID>CANARY</studyID><bodyPartExamined>KNEE</bodyPartExamined></studyInformation>"
            "<acquisitionSystemInformation><institutionName>CANARY</institutionName>"
        )
        xml = xml.replace("<acquisitionSystemInformation>", named)
        file["dataset/xml"][0] = xml.encode()
    with Source(path) as source:
        assert "CANARY" not in source.header
        assert "KNEE" in source.header
        assert "receiverChannels" in source.header
    header = struct.pack("<HI", 3, len(xml)) + xml.encode()
    config = struct.pack("<H", 1) + b"CANARY".ljust(1024, b"\0")
    broken = xml.replace("</encoding>", "").encode()
    rest = stream(path)[len(begun(path)) :]
    with logged() as lines, serving(known) as server:
        back = throw(server, begun(path)[:1026] + header + rest)
        back += throw(server, config + header)
        back += throw(server, begun(path)[:1026] + struct.pack("<HI", 3, len(broken)) + broken)
        settled(server)
    assert len(lines) == 3
    assert "CANARY" not in "\n".join(lines)
    assert b"CANARY" not in back
    assert any("1 image" in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("default", "default"),
        ("default.xml\0\0", "default"),
        ('{"version": 1, "parameters": {"config": "inline-mean"}}', "inline-mean"),
        ('{"parameters": []}', ""),
        ("{" * 100_000, ""),
        ('{"parameters": {"config": 7}}', ""),
        ("[]", "[]"),
    ],
)
def test_names_of_configurations(text, name):
    assert config_name(text) == name


def test_the_header_is_taken_as_it_comes(scan, known):
    """Vendors add elements that ismrmrd's parser refuses, and C++ clients a zero at the end of texts."""
    start = begun(scan)
    (length,) = struct.unpack("<I", start[1028:1032])
    xml = start[1032 : 1032 + length].replace(b"</encoding>", b"</encoding><ours>x</ours>", 1) + b"\0"
    packed = start[:1028] + struct.pack("<I", len(xml)) + xml + stream(scan)[len(start) :]
    with logged() as lines, serving(known) as server:
        throw(server, packed)
        settled(server)
    assert "done; 3 images" in lines[0]


def test_waveforms_and_images_are_passed_over(scan, known):
    packed = io.BytesIO()
    serializer = ProtocolSerializer(packed)
    waveform = ismrmrd.Waveform.from_array(np.zeros((2, 8), np.uint32))
    for one in (
        waveform,
        ismrmrd.Image.from_array(np.ones((4, 4), np.float32)),
        np.ones(3, np.float32),
        "hi",
    ):
        serializer.serialize(one)
    start = begun(scan)
    with logged() as lines, serving(known) as server:
        throw(server, start + packed.getvalue() + stream(scan)[len(start) :])
        settled(server)
    assert "done; 3 images" in lines[0]


def test_a_server_that_breaks_off_leaves_no_file(scan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            sock, _ = listening.accept()
            sock.sendall(image_message((8, 8, 1), 2**40))
            time.sleep(0.2)
            sock.close()

        thread = threading.Thread(target=answer)
        thread.start()
        port = listening.getsockname()[1]
        result = CliRunner().invoke(main.app, ["send", str(scan), "--to", f"127.0.0.1:{port}"])
        thread.join()
    assert result.exit_code == 2
    assert "broke off" in result.output
    assert [path.name for path in tmp_path.glob("*images*")] == []


def test_a_port_that_is_taken_is_an_error(known):
    with serving(known) as server, pytest.raises(InputError, match="choose another `port`"):
        Server(known, port=server.address[1])


def test_the_size_of_a_header_is_what_is_counted():
    assert ctypes.sizeof(ismrmrd.AcquisitionHeader) == HEAD_BYTES


@pytest.mark.parametrize("text", ["zero_filled", '{"parameters": {"config": "zero_filled"}}\0'])
def test_a_configuration_may_come_as_text(scan, known, text):
    packed = struct.pack("<HI", 2, len(text)) + text.encode() + stream(scan)[1026:]
    with logged() as lines, serving(known) as server:
        throw(server, packed)
        settled(server)
    assert "done; 3 images" in lines[0]


@dataclass(frozen=True)
class Broken(ZeroFilled):
    """A method with a bug, or one that finds no memory."""

    name: ClassVar[str] = "broken"
    error: type[Exception] = RuntimeError

    def reconstruct(self, problem, seeds, progress):
        raise self.error


def test_a_bug_ends_one_connection(scan, known):
    both = {**known, "broken": replace(known["default"], method=Broken())}
    start = struct.pack("<H", 1) + b"broken".ljust(1024, b"\0")
    with logged() as lines, serving(both) as server:
        throw(server, start + stream(scan)[1026:])
        settled(server)
        assert "a bug in mrunfold" in lines[0]
        assert lines[-1].startswith("connection 1: ended by a bug; 0 images")
        throw(server, stream(scan))
        settled(server)
    assert "connection 2: done; 3 images" in lines[-1]


def test_too_little_memory_for_an_image_is_said(scan, known):
    short = {"default": replace(known["default"], method=Broken(error=MemoryError))}
    with logged() as lines, serving(short) as server:
        back = throw(server, stream(scan))
        settled(server)
    assert b"image 0: out of memory" in back
    assert "done; 0 images" in lines[-1]
