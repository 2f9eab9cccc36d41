"""What a server grants strangers: how much, how many, for how long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Budget", "Limits", "Share", "Stopped", "StreamError"]

POLL_S = 0.2  # how often a thread that waits looks whether it is to stop


class StreamError(Exception):
    """A stream that is not served any longer: one line that says why, and names nothing of what it holds."""


class Stopped(Exception):
    """The server is to stop."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    connections: at a time; memory, memory_each: bytes of acquisitions that wait for their image, of all
    connections and of one; message: bytes of one message; messages: of a connection; idle_s: seconds without
    a message; message_s: from the first byte of a message to its last, from connecting to the first message,
    and until an image is taken; connection_s: of a connection in all.
    """

    connections: int = 8
    memory: int = 8 << 30
    memory_each: int = 2 << 30
    message: int = 64 << 20
    messages: int = 2_000_000
    idle_s: float = 300.0
    message_s: float = 30.0
    connection_s: float = 4 * 3600.0


class Budget:
    """Bytes of acquisitions in memory, of all connections together."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.changed = threading.Condition()
        self.used = self.working = 0

    def share(self) -> Share:
        """Return a connection's part."""
        return Share(self)


class Share:
    """Bytes of one connection: `used` of them are in memory, `working` of these are being made an image."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.used = self.working = 0

    def take(self, count: int, look: Callable[[], None]) -> None:
        """Take `count` bytes, waiting for images that will free them; look: raises where to stop waiting.

        Raises StreamError where none is being made that could.
        """
        budget, limits = self._budget, self._budget.limits
        with budget.changed:
            while True:
                of_one = self.used + count > limits.memory_each
                of_all = budget.used + count > limits.memory
                if not (of_one or of_all):
                    break
                if (of_one and not self.working) or (of_all and not budget.working):
                    most = limits.memory_each if of_one else limits.memory
                    whose = "of one connection" if of_one else "of all connections"
                    raise StreamError(
                        f"acquisitions {whose} that complete no image fill {most / 1e6:.4g} MB, the bound"
                    )
                look()
                budget.changed.wait(POLL_S)
            self._add(count, 0)

    def work(self, count: int) -> None:
        """Note that an image is being made of `count` of the bytes."""
        with self._budget.changed:
            self._add(0, count)

    def done(self, count: int) -> None:
        """Give back bytes that an image was made of."""
        with self._budget.changed:
            self._add(-count, -count)

    def give(self, count: int) -> None:
        """Give back bytes that no image needs."""
        with self._budget.changed:
            self._add(-count, 0)

    def close(self) -> None:
        """Give back everything."""
        with self._budget.changed:
            self._add(-self.used, -self.working)

    def _add(self, used: int, working: int) -> None:
        self.used += used
        self.working += working
        self._budget.used += used
        self._budget.working += working
        self._budget.changed.notify_all()
