"""The messages of an MRD stream, by ismrmrd's own serialiser, over a socket that is not trusted.

A message is a number (16 bits) and a body; numbers and bodies are those of the ISMRMRD streaming protocol as
Gadgetron's and Siemens' FIRE clients speak it.
"""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

from ismrmrd.serialization import ProtocolDeserializer, ProtocolSerializer
from ismrmrd.xsd import ismrmrdHeader

from mrunfold.inline.limits import POLL_S, Limits, StreamError

__all__ = ["HeaderXml", "Incoming", "Outgoing", "RawHeader", "config_name", "hang_up", "messages"]

CHUNK = 1 << 16
MOST_NAME = 100  # characters of a configuration's name


class RawHeader(bytes):
    """The ISMRMRD header as it came; what is used of it is read by `io.encoding`, which trusts nothing."""


class HeaderXml(ismrmrdHeader):
    """A header to send as it is: ismrmrd's own parser refuses what vendors add."""

    def __init__(self, text: str) -> None:  # none of its fields is set: `toXML` is all that is asked of it
        self._text = text

    def toXML(self, *args: object, **kwargs: object) -> str:
        return self._text


class _Deserializer(ProtocolDeserializer):
    """ismrmrd's deserialiser, but for the header, which it leaves unparsed."""

    def _deserialize_ismrmrd_header(self) -> RawHeader:
        (length,) = struct.unpack("<I", self._stream.read(4))
        return RawHeader(self._stream.read(length))


class Incoming:
    """The reading side of a socket: no message may be too long, too slow, or one too many.

    look: called while waiting, raises where to stop; first_s: seconds until the first message, `message_s` of
    limits where None.
    """

    def __init__(
        self,
        sock: socket.socket,
        limits: Limits,
        look: Callable[[], None],
        first_s: float | None = None,
    ) -> None:
        sock.settimeout(POLL_S)
        self._socket, self._limits, self._look = sock, limits, look
        self._first_s = limits.message_s if first_s is None else first_s
        self._buffer = bytearray()
        self._since = self._waiting = time.monotonic()
        self._begun: float | None = None
        self._length = self.count = 0

    def begin(self) -> None:
        """Begin the next message."""
        self._waiting = time.monotonic()
        self._begun = self._waiting if self._buffer else None
        self._length = 0
        if self.count >= self._limits.messages:
            raise StreamError(f"more than {self._limits.messages} messages")

    def rest(self) -> None:
        """Count the time without a message from now."""
        self._waiting = time.monotonic()

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, all of them; StreamError where they do not come."""
        count = int(count)
        self._length += count
        if count < 0 or self._length > self._limits.message:
            raise StreamError(f"a message of more than {self._limits.message / 1e6:.4g} MB")
        while len(self._buffer) < count:
            self._buffer += self._receive()
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def _receive(self) -> bytes:
        while True:
            self._look()
            self._late()
            try:
                chunk = self._socket.recv(CHUNK)
            except TimeoutError:
                continue
            except OSError as error:
                raise StreamError(f"the connection broke ({error.strerror or 'closed'})") from None
            if not chunk:
                raise StreamError("the stream ended before its closing message")
            if self._begun is None:
                self._begun = time.monotonic()
            return chunk

    def _late(self) -> None:
        now, limits = time.monotonic(), self._limits
        if now - self._since > limits.connection_s:
            raise StreamError(f"longer than {limits.connection_s:g} s")
        if self._begun is not None and now - self._begun > limits.message_s:
            raise StreamError(f"a message took more than {limits.message_s:g} s")
        patience = limits.idle_s if self.count else self._first_s
        if self._begun is None and now - self._waiting > patience:
            raise StreamError(f"no message for {patience:g} s")


def messages(incoming: Incoming) -> Iterator[object]:
    """Yield the messages of a stream until the closing one; StreamError where one is not as it must be."""
    each = _Deserializer(incoming).deserialize()
    while True:
        incoming.begin()
        try:
            message: object = next(each)
        except StopIteration:
            return
        except (StreamError, KeyboardInterrupt):
            raise
        except (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError) as error:
            raise StreamError(f"a malformed message ({type(error).__name__})") from None
        except (EOFError, OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error) as error:
            raise StreamError(f"a malformed message ({type(error).__name__})") from None
        incoming.count += 1
        yield message


class Outgoing:
    """The writing side of a socket: each message goes out whole, or StreamError says that it did not."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._socket = sock.dup()  # its timeout is another one than the reading side's
        self._socket.settimeout(timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the last line must not wait
        self._timeout_s = timeout_s
        self._lock = threading.Lock()

    def send(self, *objects: object) -> None:
        """Send messages one after the other: what ismrmrd serialises."""
        packed = io.BytesIO()
        serializer = ProtocolSerializer(packed)
        for one in objects:
            serializer.serialize(one)
        self._write(packed.getvalue())

    def finish(self) -> None:
        """Send the closing message."""
        packed = io.BytesIO()
        ProtocolSerializer(packed).close()
        self._write(packed.getvalue())

    def close(self) -> None:
        self._socket.close()

    def _write(self, data: bytes) -> None:
        with self._lock:
            try:
                self._socket.sendall(data)
            except TimeoutError:
                raise StreamError(f"the other side took no image for {self._timeout_s:g} s") from None
            except OSError as error:
                raise StreamError(f"the connection broke ({error.strerror or 'closed'})") from None


def hang_up(sock: socket.socket, seconds: float) -> None:
    """Close a socket so that what was sent last arrives: closing on unread bytes would discard it."""
    end = time.monotonic() + seconds
    try:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(max(seconds, 0.01))
        while sock.recv(CHUNK) and time.monotonic() < end:
            pass
    except OSError:
        pass  # the other side has gone, which is as good
    sock.close()


def config_name(text: str) -> str:
    """Return the name that a configuration message says: itself, or FIRE's JSON with `parameters.config`.

    An ending `.xml`, as Gadgetron's have, does not count.
    """
    text = text.split("\0", 1)[0].strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return ""
        parameters = found.get("parameters")
        name = parameters.get("config") if isinstance(parameters, dict) else None
        text = name if isinstance(name, str) else ""
    return text.removesuffix(".xml")[:MOST_NAME]
