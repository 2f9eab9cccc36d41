"""A server in a thread, clients of it, and what `recon` makes of the same file."""

from __future__ import annotations

import io
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
from ismrmrd.serialization import ConfigFile, ProtocolSerializer

from mrunfold.inline import Configuration, Limits, Server, configurations
from mrunfold.inline.client import Answer, Source, send
from mrunfold.inline.messages import HeaderXml
from mrunfold.pipeline import ReconSettings, reconstruct

SHAPE, COILS = (24, 20), 2  # of the scan that tests send
PLAIN = 'name = "{name}"\n[mask]\nkind = "acquired"\nseed = 0\n[method]\nname = "{method}"\n'


def quick(folder: Path, method: str = "zero_filled", **asked: Any) -> dict[str, Configuration]:
    """Configurations of a method that takes no time."""
    path = folder / f"{method}.toml"
    path.write_text(PLAIN.format(name=method, method=method))
    return configurations([str(path)], "cpu", {"check": 0, **asked})


@contextmanager
def serving(known: Mapping[str, Configuration], **limits: Any) -> Iterator[Server]:
    """A server on a port of its own, stopped at the end."""
    with Server(known, port=0, limits=replace(Limits(message_s=120.0), **limits)) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(60)
    assert not thread.is_alive()


def sent(path: Path, server: Server, configuration: str = "default") -> list[Answer]:
    with Source(path) as source:
        return send(source, server.address, configuration)


def images(answers: Sequence[Answer], series: int = 1) -> list[Any]:
    """The images of a series, in the order of their numbers."""
    found = [a.image for a in answers if a.image is not None and a.image.image_series_index == series]
    return sorted(found, key=lambda image: image.image_index)


def pixels(image: Any) -> np.ndarray:
    """(partition, readout, phase) of an MRD image (channel, z, y, x)."""
    assert image.data.shape[0] == 1
    return image.data[0].swapaxes(-2, -1)


def stacked(answers: Sequence[Answer], series: int = 1) -> np.ndarray:
    return np.concatenate([pixels(image) for image in images(answers, series)])


def recon(path: Path, folder: Path, settings: ReconSettings, name: str = "reconstruction") -> np.ndarray:
    """What `recon` writes of the file."""
    out = folder / "by-recon"
    if not out.exists():
        reconstruct(path, out, settings)
    with h5py.File(out / "recon.h5") as file:
        return file[name][:]


class Lines(logging.Handler):
    """The lines that the server logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logged() -> Iterator[list[str]]:
    """What the server logs meanwhile."""
    handler, log = Lines(), logging.getLogger("mrunfold.inline")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def stream(path, close=True) -> bytes:
    """All bytes that a client sends."""
    packed = io.BytesIO()
    serializer = ProtocolSerializer(packed)
    with Source(path) as source:
        for one in (ConfigFile("default"), HeaderXml(source.header), *source):
            serializer.serialize(one)
    if close:
        serializer.close()
    return packed.getvalue()


def begun(path) -> bytes:
    """Configuration and header of a stream."""
    with Source(path) as source:
        packed = io.BytesIO()
        serializer = ProtocolSerializer(packed)
        serializer.serialize(ConfigFile("default"))
        serializer.serialize(HeaderXml(source.header))
    return packed.getvalue()


def throw(server, data: bytes, pieces: int = 1, pause: float = 0.0) -> bytes:
    """Send bytes, and return what comes back until the server closes."""
    found = b""
    with socket.create_connection(server.address, timeout=60) as sock:
        try:
            for piece in range(pieces):
                sock.sendall(data[piece * len(data) // pieces : (piece + 1) * len(data) // pieces])
                time.sleep(pause)
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                found += chunk
        except OSError:
            pass  # the server has closed meanwhile
    return found


def settled(server) -> None:
    """Wait until no connection is open."""
    # One that stands in the list and has not begun yet is not alive, and not at its end.
    while any(thread.ident is None or thread.is_alive() for thread in server._threads):
        time.sleep(0.01)


def image_message(size: tuple[int, int, int], attributes: int = 0, kind: int = 5) -> bytes:
    head = ismrmrd.ImageHeader()
    head.data_type, head.channels = kind, 65535
    head.matrix_size[:] = size
    return struct.pack("<H", 1022) + bytes(head) + struct.pack("<Q", attributes)
