"""Slices in flight: the problem of the next slice is made while the network works on this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch

from mrunfold.pipeline.memory import has_room_ahead
from mrunfold.pipeline.slices import Job, Posed, SliceImages
from mrunfold.pipeline.threads import available_cores

__all__ = ["in_flight"]

Fraction = Callable[[float], None]
LOOK = 0.1  # seconds between looks at what the other thread has done


class _Stopped(Exception):
    """Raised in the other thread, at its next report of progress, when its slice is no longer needed."""


class _Ahead:
    """A thread of its own that reads slices and makes their problems, one at a time, in the order asked.

    Scans and what frames have in common know one slice at a time, so nothing else may touch them.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._done, self._stop = job, 0.0, False
        self._thread = ThreadPoolExecutor(1, "mrunfold-ahead")
        self._next: Future[Posed] | None = None

    def begin(self, index: int) -> None:
        """Start to make the problem of slice `index`."""
        self._done = 0.0
        self._next = self._thread.submit(self._job.problem, index, self._report)

    def result(self, progress: Fraction | None) -> Posed:
        """Wait for the problem and return it, or raise its error; progress: called while waiting."""
        assert self._next is not None
        while not wait([self._next], timeout=LOOK).done:  # an interrupt ends it
            if progress is not None:
                progress(self._done)
        return self._next.result()

    def stop(self) -> None:
        """End the thread; its slice stops at the next report of progress, or is finished."""
        self._stop = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _report(self, fraction: float) -> None:
        if self._stop:
            raise _Stopped
        self._done = fraction


def has_cores_ahead() -> bool:
    """Return whether another thread finds cores that torch's threads leave idle: as many again as they are.

    Each thread that uses torch has a team of its own.  Two teams of two on two cores made a slice 1.4 times
    as slow (docs/lab-notes.md).  One thread is what a batch's workers have, and what was asked for.
    """
    return 2 <= torch.get_num_threads() <= available_cores() // 2


@contextmanager
def in_flight(
    job: Job,
    indices: Sequence[int],
    zero_filled: bool = False,
    progress: Callable[[int], Fraction | None] = lambda number: None,
) -> Iterator[Iterator[SliceImages]]:
    """Give an iterator over the images of slices `indices`, in this order, as `Job.reconstruct` makes them.

    Where cores and memory are there for it (`has_cores_ahead`), the next slice is read and its problem made
    (coils, maps, noise) meanwhile; images are the same, bit for bit, and what a slice raises is raised in its
    turn.  zero_filled: as `Job.reconstruct`; progress: called with a slice's number, gives what is
    called with the fraction of it that is done.
    """
    if len(indices) < 2 or not has_cores_ahead() or not has_room_ahead(job.scan, job.settings):
        yield (job.reconstruct(one, zero_filled, progress(n)) for n, one in enumerate(indices))
        return
    ahead = _Ahead(job)
    try:
        yield _overlapped(ahead, job, indices, zero_filled, progress)
    finally:
        ahead.stop()


def _overlapped(
    ahead: _Ahead,
    job: Job,
    indices: Sequence[int],
    zero_filled: bool,
    progress: Callable[[int], Fraction | None],
) -> Iterator[SliceImages]:
    ahead.begin(indices[0])
    for number, index in enumerate(indices):
        report = progress(number)
        posed = ahead.result(report)
        if number + 1 < len(indices):
            ahead.begin(indices[number + 1])
        yield job.finished(index, posed, zero_filled, report)
        del posed
