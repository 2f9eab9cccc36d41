"""One connection: its messages as they come, its images as they are made, and how it ends."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrunfold.errors import InputError
from mrunfold.inline.arrivals import Arrivals, Key, Pile
from mrunfold.inline.configurations import Configuration
from mrunfold.inline.images import mrd_images
from mrunfold.inline.limits import Stopped, StreamError
from mrunfold.inline.messages import Incoming, Outgoing, RawHeader, config_name, hang_up, messages
from mrunfold.inline.reconstruct import reconstruct_pile

if TYPE_CHECKING:
    from mrunfold.inline.server import Server

__all__ = ["Connection"]

log = logging.getLogger(__name__)

HEAD_BYTES = 340  # of an acquisition's header
HANG_UP_S = 1.0
SCAN = Path("scan")  # what messages call what came: it has no file


class Connection:
    """Receives a scan in one thread, and reconstructs and sends what is whole in another."""

    def __init__(self, number: int, sock: socket.socket, server: Server) -> None:
        self.number, self._socket, self._server = number, sock, server
        self._share = server.budget.share()
        self._incoming = Incoming(sock, server.limits, self._look)
        self._outgoing = Outgoing(sock, server.limits.message_s)
        self._queue: queue.SimpleQueue[Pile | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._failed: Exception | None = None
        self._dropped = False
        self._configuration: Configuration | None = None
        self._arrivals: Arrivals | None = None
        self.sent = 0

    def run(self) -> None:
        """Serve until the stream is closed, broken or refused, or the server stops; a line of log says it."""
        begun = time.monotonic()
        try:
            said = self._served()
        except Stopped:
            said = "stopped with the server"
        except StreamError as error:
            said = f"ended: {error}"
        except InputError as error:
            said = f"refused: {error}"
            self._tell(str(error))
        except Exception:
            log.exception("connection %d: a bug in mrunfold: please report it", self.number)
            said = "ended by a bug"
        finally:
            self._end()
        images = f"{self.sent} image{'' if self.sent == 1 else 's'}"
        log.info("connection %d: %s; %s in %.1f s", self.number, said, images, time.monotonic() - begun)

    def _served(self) -> str:
        for message in messages(self._incoming):
            self._take(message)
        arrivals = self._arrivals
        if arrivals is not None:
            for key in arrivals.close():
                self._whole(key)
        self._drain()
        if arrivals is None:
            return "closed without acquisitions"
        late = f"; {arrivals.late} lines came after their image's last" if arrivals.late else ""
        other = f"; {arrivals.elsewhere} lines of other encoding spaces" if arrivals.elsewhere else ""
        return f"done{late}{other}"

    def _look(self) -> None:
        """Raise where waiting is to end."""
        if self._failed is not None:
            raise self._failed
        if self._server.stopping.is_set():
            raise Stopped
        if self._share.working:  # the other side waits for images
            self._incoming.rest()

    def _take(self, message: object) -> None:
        import ismrmrd
        from ismrmrd.serialization import ConfigFile, ConfigText

        if isinstance(message, ConfigFile | ConfigText):
            self._configure(str(message))
        elif isinstance(message, RawHeader):
            if self._arrivals is not None:
                raise StreamError("a second header")
            self._arrivals = Arrivals(SCAN, bytes(message).rstrip(b"\0"))
        elif isinstance(message, ismrmrd.Acquisition):
            self._acquired(message)
        # Waveforms, images, arrays and texts are part of the protocol, and nothing is made of them.

    def _configure(self, text: str) -> None:
        name = config_name(text)
        found = self._server.configurations.get(name)
        if found is not None:
            self._configuration = found
        elif self._configuration is None:
            known = ", ".join(sorted(self._server.configurations))
            raise InputError(f"there is no configuration of that name here; name one of {known}")

    def _acquired(self, acquisition: Any) -> None:
        if self._arrivals is None or self._configuration is None:
            what = "the header" if self._arrivals is None else "a configuration"
            raise StreamError(f"acquisitions before {what}")
        size = HEAD_BYTES + acquisition.data.nbytes + acquisition.traj.nbytes
        self._share.take(size, self._look)
        whole, kept = self._arrivals.add(acquisition)
        self._share.give(size - (0 if kept is None else kept.nbytes))
        for key in whole:
            self._whole(key)

    def _whole(self, key: Key) -> None:
        """Hand an image's lines to the worker."""
        assert self._arrivals is not None
        pile = self._arrivals.take(key)
        self._share.work(pile.nbytes)
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name=f"images-{self.number}", daemon=True)
            self._worker.start()
        self._queue.put(pile)

    def _work(self) -> None:
        while (pile := self._queue.get()) is not None:
            if self._failed is None and not self._dropped and not self._server.stopping.is_set():
                try:
                    self._make(pile)
                except Exception as error:
                    self._failed = error  # what reads the stream says it, in one line
            self._share.done(pile.nbytes)

    def _make(self, pile: Pile) -> None:
        arrivals, configuration = self._arrivals, self._configuration
        assert arrivals is not None
        assert configuration is not None
        try:
            with self._server.turn:
                if self._dropped or self._server.stopping.is_set():
                    return
                made = reconstruct_pile(SCAN, arrivals.xml, pile, configuration)
        except (InputError, MemoryError) as error:
            said = str(error) or "out of memory; serve it on a machine with more"
            log.warning("connection %d: image %d: %s", self.number, pile.number, said)
            self._tell(f"image {pile.number}: {said}")
            return
        varying = frozenset(name for name, count in arrivals.encoding.counts.items() if count > 1)
        images = mrd_images(made, pile, configuration, varying)
        if self._dropped:
            return
        self._outgoing.send(*images)
        self.sent += len(images)

    def _drain(self) -> None:
        """Wait until all that is whole has been sent."""
        if self._worker is None:
            return
        self._queue.put(None)
        self._worker.join()
        self._worker = None
        if self._failed is not None:
            raise self._failed
        if self._server.stopping.is_set():
            raise Stopped

    def _tell(self, text: str) -> None:
        with contextlib.suppress(StreamError):  # nobody is there to be told
            self._outgoing.send(text)

    def _end(self) -> None:
        """Let the image in hand be finished, say goodbye, and give everything back."""
        if self._worker is not None:
            self._dropped = not self._server.stopping.is_set()
            self._queue.put(None)
            self._worker.join()
        with contextlib.suppress(StreamError):  # it has gone already
            self._outgoing.finish()
        self._outgoing.close()
        hang_up(self._socket, HANG_UP_S)
        self._share.close()
        self._arrivals = None
