"""The client: the acquisitions of an ISMRMRD file to a server, its images into a file."""

from __future__ import annotations

import re
import socket
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.inline.limits import Limits, StreamError
from mrunfold.inline.messages import HeaderXml, Incoming, Outgoing, RawHeader, hang_up, messages
from mrunfold.io.atomic import atomic_path
from mrunfold.io.hdf5 import open_h5, reading
from mrunfold.io.mrd import find_acquisitions
from mrunfold.io.mrd_heads import read_heads

__all__ = ["Answer", "Source", "parse_address", "send", "write_images"]

PATIENT = Limits(idle_s=3600.0, message_s=120.0, connection_s=24 * 3600.0)  # volumes take their time
AFTER_S = 1.0  # what a server that takes no more may still have to say
BLOCK = 256  # acquisitions in memory at a time
# Elements of a header that a person, a place or a device is named in, but for what of them is used.
NAMED = {
    "subjectInformation": (),
    "studyInformation": ("bodyPartExamined",),
    "measurementInformation": ("patientPosition",),
    "acquisitionSystemInformation": (
        "systemVendor",
        "systemFieldStrength_T",
        "relativeReceiverNoiseBandwidth",
        "receiverChannels",
    ),
    "waveformInformation": (),
    "userParameters": (),
}


@dataclass(frozen=True)
class Answer:
    """What a server sent: an image, or a text, and when: seconds of `time.monotonic`."""

    at: float
    image: Any = None
    text: str | None = None


class Source:
    """The acquisitions of an ISMRMRD file, in their order; a context manager.

    header: its XML without what names a person, a place or a device.  Raises InputError for other files and
    for damaged ones.
    """

    def __init__(self, path: Path, measurement: str | None = None) -> None:
        self.path = path
        self._file = open_h5(path)
        try:
            self._open(measurement)
        except BaseException:
            self._file.close()
            raise

    def _open(self, measurement: str | None) -> None:
        self._data, xml, _ = find_acquisitions(self.path, self._file, measurement)
        read_heads(self.path, self._data)  # damaged ones are refused before anything is sent
        self.header = anonymous(self.path, xml)

    def __len__(self) -> int:
        return int(self._data.size)

    def __iter__(self) -> Iterator[Any]:
        """Yield each acquisition as ismrmrd's."""
        import ismrmrd

        for start in range(0, len(self), BLOCK):
            with reading(self.path, "its acquisitions"):
                block = self._data[start : start + BLOCK]
            for number, row in enumerate(block, start):
                head = ismrmrd.AcquisitionHeader.from_buffer_copy(row["head"].tobytes())
                coils, samples = head.active_channels, head.number_of_samples
                shape = (samples, head.trajectory_dimensions)
                if row["data"].size != 2 * coils * samples or row["traj"].size != shape[0] * shape[1]:
                    raise InputError(f"{self.path}: acquisition {number} is damaged; copy the file again")
                values = np.ascontiguousarray(row["data"]).view(np.complex64).reshape(coils, samples)
                yield ismrmrd.Acquisition(head, values, row["traj"].reshape(shape))

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *about: object) -> None:
        self._file.close()


def anonymous(path: Path, text: bytes | str) -> str:
    """Return an ISMRMRD header without NAMED, except for what reconstruction uses of it."""
    string = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", string, re.IGNORECASE):
        raise InputError(f"{path}: its ISMRMRD header declares a document type or entities; remove them")
    try:
        root = ElementTree.fromstring(string.strip().strip("\0"))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: its ISMRMRD header is not well-formed XML ({error})") from error
    for child in list(root):
        kept = NAMED.get(_local(child))
        if kept is not None:
            for one in [one for one in child if _local(one) not in kept]:
                child.remove(one)
            if not len(child):
                root.remove(child)
    return ElementTree.tostring(root, encoding="unicode")


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rsplit("}", 1)[-1]


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of "host:port", InputError where it is none."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"a server is host:port, for example localhost:9002, got {text[:60]!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def send(
    source: Source,
    address: tuple[str, int],
    configuration: str,
    *,
    line_ms: float = 0.0,
    limits: Limits | None = None,
    took: Callable[[Answer], None] = lambda answer: None,
    sent: Callable[[int, float], None] = lambda number, at: None,
) -> list[Answer]:
    """Send a scan and return what comes back, in its order, until the server closes.

    line_ms: time from one acquisition to the next, 0 for as fast as it goes; took: called with each answer as
    it comes; sent: called with the number of each acquisition and when it had been sent.  Raises InputError
    where there is no server, and where it or the connection breaks off.
    """
    from ismrmrd.serialization import ConfigFile

    limits = limits or PATIENT
    try:
        sock = socket.create_connection(address, timeout=limits.message_s)
    except OSError as error:
        where = f"{address[0]}:{address[1]}"
        reason = error.strerror or "no answer"
        raise InputError(f"{where}: no connection ({reason}); is `mrunfold serve` running there?") from None
    receiver = _Receiver(sock, limits, took)
    out = Outgoing(sock, limits.message_s)
    receiver.start()
    try:
        out.send(ConfigFile(configuration), HeaderXml(source.header))
        begun = time.monotonic()
        for number, acquisition in enumerate(source):
            if line_ms:
                time.sleep(max(0.0, begun + number * line_ms / 1e3 - time.monotonic()))
            out.send(acquisition)
            sent(number, time.monotonic())
            if receiver.over.is_set():
                break
        else:
            out.finish()
        receiver.over.wait()
    except StreamError as error:
        if not receiver.over.wait(AFTER_S):
            receiver.failed = error
    finally:
        out.close()
        hang_up(sock, 0.0)
    return receiver.result()


class _Receiver(threading.Thread):
    """Takes what the server sends; over: it has closed, or failed says what went wrong."""

    def __init__(self, sock: socket.socket, limits: Limits, took: Callable[[Answer], None]) -> None:
        super().__init__(name="answers", daemon=True)
        self._incoming = Incoming(sock, limits, lambda: None, limits.idle_s)
        self._took = took
        self.answers: list[Answer] = []
        self.failed: StreamError | None = None
        self.over = threading.Event()

    def run(self) -> None:
        import ismrmrd

        try:
            for message in messages(self._incoming):
                if isinstance(message, ismrmrd.Image):
                    self._add(Answer(time.monotonic(), image=message))
                elif isinstance(message, str) and not isinstance(message, RawHeader):
                    self._add(Answer(time.monotonic(), text=message))
        except StreamError as error:
            self.failed = error
        finally:
            self.over.set()

    def _add(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._took(answer)

    def result(self) -> list[Answer]:
        said = [answer.text for answer in self.answers if answer.text is not None]
        if self.failed is not None:
            reason = f"; it said: {said[-1]}" if said else ""
            raise InputError(f"the server broke off: {self.failed}{reason}; see its log")
        return self.answers


def write_images(path: Path, answers: list[Answer]) -> int:
    """Write the images as an ISMRMRD file, series n as `images_n`, and return how many there are."""
    import ismrmrd

    images = [answer.image for answer in answers if answer.image is not None]
    with atomic_path(path) as part:
        dataset = ismrmrd.Dataset(str(part), "dataset", create_if_needed=True)
        for image in images:
            dataset.append_image(f"images_{image.image_series_index}", image)
        dataset.close()
    return len(images)
