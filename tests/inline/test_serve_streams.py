"""Streams that are broken, endless, slow or too many end their own connection, and nothing else."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import ismrmrd
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_mrd
from serving import (
    COILS,
    SHAPE,
    begun,
    image_message,
    images,
    logged,
    recon,
    sent,
    serving,
    settled,
    stacked,
    stream,
    throw,
)

from mrunfold.inline.client import Source, send
from mrunfold.methods.zero_filled import ZeroFilled


def still_serves(server, path, known, tmp_path) -> None:
    np.testing.assert_array_equal(
        stacked(sent(path, server)), recon(path, tmp_path, known["default"].settings)
    )


def acquisition(samples: int, coils: int, dimensions: int = 0, **fields) -> bytes:
    """A message whose header says that much follows, and nothing that does."""
    head = ismrmrd.AcquisitionHeader()
    head.number_of_samples, head.active_channels, head.trajectory_dimensions = samples, coils, dimensions
    for name, value in fields.items():
        setattr(head, name, value)
    return struct.pack("<H", 1008) + bytes(head)


MALFORMED = {
    "noise": bytes(range(256)) * 40,
    "no message": b"",
    "half a number": b"\x01",
    "a number that is none": struct.pack("<H", 7777) + b"x" * 100,
    "web client": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "endless header": struct.pack("<HI", 3, 2**32 - 1) + b"<ismrmrdHeader>" * 100,
    "endless text": struct.pack("<HI", 5, 2**31) + b"x" * 1000,
    "text that is none": struct.pack("<HI", 5, 4) + b"\xff\xfe\xfd\xfc",
    "array of any size": struct.pack("<HHHH", 1030, 5, 0, 8) + struct.pack("<8Q", *[2**60] * 8),
    "array of no type": struct.pack("<HHHH", 1030, 99, 0, 1) + struct.pack("<Q", 4),
    "image of 100 TB": image_message((65535, 65535, 65535)),
    "image of endless attributes": image_message((1, 1, 1), 2**63),
    "image of no type": image_message((4, 4, 1), kind=77),
    "image whose attributes are no XML": image_message((1, 1, 1), 4) + b"<<<<",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_stream_ends_alone(name, scan, known, tmp_path):
    with logged() as lines, serving(known) as server:
        throw(server, MALFORMED[name])
        settled(server)
        assert len(lines) == 1, lines
        assert lines[0].startswith("connection 1: ended: ")
        assert server.budget.used == server.budget.working == 0
        still_serves(server, scan, known, tmp_path)


AFTER_HEADER = {
    "an acquisition of 34 GB": acquisition(65535, 65535),
    "a trajectory of 17 GB": acquisition(65535, 1, 65535),
    "half a header": acquisition(10, 2)[:100],
    "a second header": None,
}


@pytest.mark.parametrize("name", AFTER_HEADER)
def test_so_does_one_that_begins_well(name, scan, known):
    start = begun(scan)
    with logged() as lines, serving(known) as server:
        throw(server, start + (AFTER_HEADER[name] or start))
        settled(server)
        assert len(lines) == 1, lines
        assert lines[0].startswith("connection 1: ended: ")
        assert server.budget.used == 0


def test_what_comes_in_the_wrong_order_ends(scan, known):
    packed = stream(scan)
    config, header = packed[:1026], begun(scan)[1026:]
    with logged() as lines, serving(known) as server:
        throw(server, config + packed[len(begun(scan)) :])
        settled(server)
        throw(server, header + packed[len(begun(scan)) :])
        settled(server)
    assert "acquisitions before the header" in lines[0]
    assert "acquisitions before a configuration" in lines[1]


def test_a_truncated_stream_ends_with_one_line(scan, known, tmp_path):
    packed = stream(scan)
    cuts = np.random.default_rng(0).integers(1, len(packed) - 2, 30).tolist()
    with logged() as lines, serving(known) as server:
        for cut in cuts:
            throw(server, packed[:cut])
            settled(server)
        assert len(lines) == len(cuts)
        assert all(": ended: " in line for line in lines)
        assert server.budget.used == 0
        still_serves(server, scan, known, tmp_path)


def test_damaged_bytes_do_not_stop_the_server(scan, known, tmp_path):
    packed, rng = stream(scan), np.random.default_rng(1)
    with logged() as lines, serving(known) as server:
        for _ in range(30):
            damaged = bytearray(packed)
            for place in rng.integers(0, len(packed), 20):
                damaged[place] = rng.integers(0, 256)
            throw(server, bytes(damaged))
            settled(server)
        assert not any("bug" in line for line in lines), lines
        assert server.budget.used == 0
        still_serves(server, scan, known, tmp_path)


def test_an_image_that_never_ends_is_bounded(scan, known, tmp_path):
    start = begun(scan)
    one = stream(scan, close=False)[len(start) :]
    line = one[: len(one) // (3 * SHAPE[1])]
    with logged() as lines, serving(known, memory_each=200_000) as server:
        throw(server, start + line * 2000)
        settled(server)
        assert len(lines) == 1
        assert "fill 0.2 MB, the bound" in lines[0]
        assert server.budget.used == 0
        still_serves(server, scan, known, tmp_path)


def test_so_are_all_connections_together(scan, known):
    start = begun(scan)
    one = stream(scan, close=False)[len(start) :]
    line = one[: len(one) // (3 * SHAPE[1])]
    with logged() as lines, serving(known, memory=200_000) as server:
        with socket.create_connection(server.address) as idle:
            idle.sendall(start + line * 50)  # stays open, with 17 kB of lines that are no image
            while server.budget.used == 0:
                time.sleep(0.01)
            throw(server, start + line * 2000)
        settled(server)
    assert any("of all connections" in line for line in lines)


def test_messages_that_bring_nothing_are_counted(scan, known):
    text = struct.pack("<HI", 5, 2) + b"hi"
    with logged() as lines, serving(known, messages=50) as server:
        throw(server, begun(scan) + text * 100)
        settled(server)
    assert lines == [lines[0]]
    assert "more than 50 messages" in lines[0]


def test_a_slow_message_ends(scan, known):
    with logged() as lines, serving(known, message_s=0.5) as server:
        throw(server, begun(scan)[:300], pieces=300, pause=0.02)
        settled(server)
    assert len(lines) == 1
    assert "a message took more than 0.5 s" in lines[0]


def test_a_silent_client_ends(scan, known):
    with logged() as lines, serving(known, idle_s=0.3) as server:
        with socket.create_connection(server.address) as sock:
            sock.sendall(begun(scan))
            sock.settimeout(60)
            while sock.recv(1000):
                pass
        settled(server)
    assert "no message for 0.3 s" in lines[0]


def test_a_client_that_takes_no_images_ends(tmp_path, known):
    path = write_mrd(tmp_path / "many.h5", coil_kspace(np.stack([letter_f((96, 96))] * 6), 1))
    packed = stream(path, close=False)
    with logged() as lines, serving(known, message_s=2.0) as server:
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what it accepts inherits it
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(server.address)
        for start in range(0, len(packed), 65536):
            try:
                sock.sendall(packed[start : start + 65536])
            except OSError:
                break
        while not server._threads:
            time.sleep(0.01)
        settled(server)
        sock.close()
    assert len(lines) == 1
    assert "took no image" in lines[0]
    assert server.budget.used == 0


def test_one_connection_too_many_is_told(scan, known, tmp_path):
    with serving(known, connections=1) as server:
        with socket.create_connection(server.address):
            while not server._threads:
                time.sleep(0.01)
            answers = sent(scan, server)
            assert not images(answers)
            assert any("1 connections, its bound" in (one.text or "") for one in answers)
        settled(server)
        still_serves(server, scan, known, tmp_path)


def test_a_scan_larger_than_the_bound_waits_for_its_images(scan, known, tmp_path):
    """Two of three slices fit: the third is read once the first has been sent."""
    slice_bytes = SHAPE[1] * (340 + 8 * COILS * SHAPE[0])
    with serving(known, memory_each=2 * slice_bytes + 1000) as server:
        still_serves(server, scan, known, tmp_path)


def test_ten_scans_in_parallel_are_not_mixed(tmp_path, known):
    paths = []
    for number in range(10):
        shape = (24 + 2 * (number % 3), 20)
        volume = np.stack([letter_f(shape) * (1 + number + s) for s in range(2)])
        paths.append(write_mrd(tmp_path / f"scan{number}.h5", coil_kspace(volume, COILS, seed=number)))
    found = {}
    with serving(known, connections=10) as server:

        def one(number: int) -> None:
            with Source(paths[number]) as source:
                found[number] = send(source, server.address, "default", line_ms=2)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, path in enumerate(paths):
        (tmp_path / str(number)).mkdir()
        expected = recon(path, tmp_path / str(number), known["default"].settings)
        np.testing.assert_array_equal(stacked(found[number]), expected)


@dataclass(frozen=True)
class Waiting(ZeroFilled):
    """Says that it has begun, and ends when it may."""

    name: ClassVar[str] = "waiting"
    begun: ClassVar[threading.Event] = threading.Event()
    may_end: ClassVar[threading.Event] = threading.Event()

    def reconstruct(self, problem, seeds, progress):
        self.begun.set()
        assert self.may_end.wait(60)
        return super().reconstruct(problem, seeds, progress)


def test_stopping_finishes_the_slice_in_hand(scan, known, tmp_path):
    waiting = {"default": replace(known["default"], method=Waiting())}
    Waiting.begun.clear()
    Waiting.may_end.clear()
    answers = []
    with logged() as lines, serving(waiting) as server:
        client = threading.Thread(target=lambda: answers.extend(sent(scan, server)))
        client.start()
        assert Waiting.begun.wait(60)
        server.stop()
        time.sleep(0.5)
        Waiting.may_end.set()
        client.join(60)
    expected = recon(scan, tmp_path, known["default"].settings)
    np.testing.assert_array_equal(stacked(answers), expected[:1])
    assert len(lines) == 1
    assert "stopped with the server; 1 image in" in lines[0]


def test_sigterm_ends_the_command(scan, tmp_path):
    protocol = tmp_path / "plain.toml"
    protocol.write_text('name = "plain"\n[mask]\nseed = 0\n[method]\nname = "zero_filled"\n')
    words = ["serve", "--port", "0", "--protocol", str(protocol), "--host", "0.0.0.0", "--device", "cpu"]
    command = [sys.executable, "-c", "from mrunfold.cli.main import run; run()", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        warning, line = process.stdout.readline(), process.stdout.readline()
        assert "no authentication" in warning
        port = int(line.split(":")[1])
        with Source(scan) as source:
            answers = send(source, ("127.0.0.1", port), "plain")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(images(answers)) == 3
    assert "stopped" in out
    assert "connection 1: done; 3 images" in err


def test_a_slice_that_cannot_be_reconstructed_is_said_and_the_others_come(tmp_path, known):
    kspace = coil_kspace(np.stack([letter_f(SHAPE)] * 3), COILS)
    kspace[1, 0, 3, 4] = np.nan
    path = write_mrd(tmp_path / "nan.h5", kspace)
    with logged() as lines, serving(known) as server:
        answers = sent(path, server)
    assert [one.slice for one in images(answers)] == [0, 2]
    assert any("NaN" in (one.text or "") for one in answers)
    assert "connection 1: done; 2 images" in lines[-1]


def test_lines_after_the_last_are_said(scan, known):
    packed = stream(scan, close=False)
    start = begun(scan)
    again = packed[len(start) : len(start) + (len(packed) - len(start)) // 3]
    with logged() as lines, serving(known) as server:
        throw(server, packed + again + struct.pack("<H", 4))
        settled(server)
    assert f"{SHAPE[1]} lines came after their image's last" in lines[-1]
