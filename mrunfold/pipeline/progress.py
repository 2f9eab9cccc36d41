"""Progress where nothing can be drawn: a line now and then, with the time that is left."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TextIO

__all__ = ["ProgressLines", "SliceProgress", "begun", "progress_lines", "within"]

SliceProgress = Callable[[float, int], None]  # (slices done, slices in all)

FIRST, GROWTH, LONGEST = 2.0, 1.5, 60.0  # seconds to the first line, and how the time between lines grows


class ProgressLines:
    """Called with (done, total); prints `slice 3 of 24, 1.2 s each, 0:00:25 left`, seldom, nothing under 2 s.

    done may be between two whole numbers; clock: seconds, for tests.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        what: str = "slice",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._what, self._clock = stream, what, clock
        self._began = clock()
        self._next, self._pause = FIRST, FIRST

    def __call__(self, done: float, total: int) -> None:
        elapsed = self._clock() - self._began
        if elapsed < self._next or done >= total:
            return
        self._pause = min(self._pause * GROWTH, LONGEST)
        self._next = elapsed + self._pause
        words = f"{self._what} {min(int(done) + 1, total)} of {total}"
        if done > 0:
            left = datetime.timedelta(seconds=round(elapsed / done * (total - done)))
            words += f", {elapsed / done:.1f} s each, {left} left"
        print(words, file=self._stream or sys.stderr, flush=True)


def within(progress: SliceProgress, place: int, total: int, fraction: float) -> None:
    """Report the fraction of a slice that is done; it counts as done when it is written, not before."""
    progress(place + min(fraction, 0.999), total)


def begun(progress: SliceProgress, place: int, total: int) -> Callable[[float], None]:
    """Report that a slice is begun, and return what reports the fraction of it that is done."""
    inside = partial(within, progress, place, total)
    inside(0.0)
    return inside


@contextmanager
def progress_lines(quiet: bool = False, what: str = "slice") -> Iterator[Callable[[float, int], None]]:
    """Give a ProgressLines on stderr, or what prints nothing where `quiet`."""
    yield (lambda done, total: None) if quiet else ProgressLines(what=what)
