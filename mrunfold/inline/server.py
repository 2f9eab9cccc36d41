"""The server: who may connect, and how it stops."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Mapping

from mrunfold.errors import InputError
from mrunfold.inline.configurations import Configuration
from mrunfold.inline.connection import Connection
from mrunfold.inline.limits import POLL_S, Budget, Limits, StreamError
from mrunfold.inline.messages import Outgoing, hang_up

__all__ = ["Server", "is_loopback"]

log = logging.getLogger(__name__)


class Server:
    """Listens on `host`:`port` and reconstructs what MRD clients stream to it; a context manager.

    configurations: by the names that clients may give.  One image is reconstructed at a time, whichever
    connection it is of, with all threads and the one network.  port 0: any that is free, `address` says
    which.  Raises InputError where the address cannot be listened on.
    """

    def __init__(
        self,
        configurations: Mapping[str, Configuration],
        host: str = "127.0.0.1",
        port: int = 9002,
        limits: Limits | None = None,
    ) -> None:
        self.configurations = configurations
        self.limits = limits or Limits()
        self.budget = Budget(self.limits)
        self.turn = threading.Lock()
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._count = 0
        try:
            self._socket = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"{host}:{port} cannot be listened on ({reason}); choose another `port`, or stop what has it"
            ) from None
        self._socket.settimeout(POLL_S)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def serve(self) -> None:
        """Take connections until `stop` is called, then wait until each has finished the image in hand."""
        while not self.stopping.is_set():
            try:
                sock, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:  # the other side has gone, or there are no files left
                log.warning("a connection could not be taken: %s", error.strerror)
                self.stopping.wait(POLL_S)
                continue
            self._taken(sock)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def _taken(self, sock: socket.socket) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._count += 1
        if len(self._threads) >= self.limits.connections:
            log.warning("connection %d: refused, %d are open, the bound", self._count, len(self._threads))
            _goodbye(sock, f"the server has {len(self._threads)} connections, its bound; try again later")
            return
        connection = Connection(self._count, sock, self)
        thread = threading.Thread(target=connection.run, name=f"connection-{self._count}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Have `serve` return; may be called from a signal handler."""
        self.stopping.set()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *about: object) -> None:
        self.stop()
        self._socket.close()


def _goodbye(sock: socket.socket, text: str) -> None:
    out = Outgoing(sock, 1.0)
    try:
        out.send(text)
        out.finish()
    except StreamError:
        pass  # it has gone already
    out.close()
    hang_up(sock, POLL_S)


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
