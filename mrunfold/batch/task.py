"""What is done for one volume, here or in a worker: all of it but the manifest."""

from __future__ import annotations

import datetime
import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mrunfold.batch.plan import Volume
from mrunfold.batch.volume import Work, reconstruct_volume
from mrunfold.errors import InputError
from mrunfold.io import scan_digest, sha256_of
from mrunfold.io.source import Stamp
from mrunfold.text import printable

__all__ = ["Outcome", "Task", "attend", "cpu_threads", "failure"]

# The next volume would meet these as well.
NO_WAY_ON = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@dataclass(frozen=True)
class Task:
    """A volume and what is known of it; before: its last line in the manifest, None where it has none.

    expected: the sha256 that its raw file must have, None for any.
    """

    volume: Volume
    before: dict[str, Any] | None = None
    retry_failed: bool = False
    expected: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How it went; record: the line that the manifest gets, None where the last one still holds."""

    name: str
    status: Literal["ok", "kept", "failed"]
    message: str = ""
    record: dict[str, Any] | None = None


def attend(task: Task, work: Work, progress: Callable[[float, int], None] | None = None) -> Outcome:
    """Do a volume unless it is done, and return how it went; nothing but its output is written.

    Raises only what every other volume would meet too: no place to write, an interruption.
    """
    volume, before = task.volume, task.before
    record = _begun(volume)
    began = time.perf_counter()
    try:
        stamp, digest = Stamp.of(volume.path), scan_digest(volume.path)
    except (InputError, OSError) as error:
        return _out_of_reach(task, _message(error, volume))
    record["input_sha256"] = digest
    try:
        if before is not None and before["input_sha256"] == digest:
            if before["status"] == "ok" and _intact(volume.final, before["output_sha256"]):
                return Outcome(volume.name, "kept")
            if before["status"] == "failed" and not task.retry_failed:
                return Outcome(volume.name, "failed", before["message"])
        if task.expected not in (None, digest):
            raise InputError(
                f"{volume.path}: not the file that the protocol froze (sha256 {digest[:12]}…, there "
                f"{task.expected[:12]}…); get that file, or freeze a protocol anew"
            )
        record |= reconstruct_volume(volume, digest, stamp, work, progress)
        record |= {"status": "ok", "message": ""}
    except Exception as error:
        _raise_if_fatal(error)
        return _failed(task, record | {"message": _message(error, volume)}, began)
    return Outcome(volume.name, "ok", record=_ended(record, began))


def failure(task: Task, message: str) -> Outcome:
    """Return the outcome of a volume whose worker could not say itself that it failed, and why."""
    try:
        digest = scan_digest(task.volume.path)
    except (InputError, OSError):
        return _out_of_reach(task, message)
    if task.before is not None and task.before["input_sha256"] == digest:
        return _out_of_reach(task, message)  # not this content's fault: it was read before
    return _failed(task, _begun(task.volume) | {"input_sha256": digest, "message": message}, None)


def _out_of_reach(task: Task, message: str) -> Outcome:
    """Return the outcome of a raw file that cannot be read: what it gave before stays, and its line holds."""
    message = printable(message)
    if task.before is not None and task.before["status"] == "ok":
        return Outcome(task.volume.name, "failed", f"{message}; its earlier output is kept")
    record = _begun(task.volume) | {"status": "failed", "output_sha256": None, "message": message}
    return Outcome(task.volume.name, "failed", message, _ended(record, None))


def _failed(task: Task, record: dict[str, Any], began: float | None) -> Outcome:
    """Return the outcome of a raw file that was read and failed, without output."""
    message = printable(record["message"])
    record |= {"status": "failed", "output_sha256": None, "message": message}
    # What an earlier state of the file gave is not this file's reconstruction.
    task.volume.final.unlink(missing_ok=True)
    return Outcome(task.volume.name, "failed", message, _ended(record, began))


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Have torch and BLAS compute with `count` threads within the block; None leaves them as they are.

    Sums are split by threads, so their last bits depend on the number of both.
    """
    if count is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


def _begun(volume: Volume) -> dict[str, Any]:
    return {"name": volume.name, "input": volume.path.name, "input_sha256": None}


def _ended(record: dict[str, Any], began: float | None) -> dict[str, Any]:
    record["wall_seconds"] = None if began is None else time.perf_counter() - began
    record["finished"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return record


def _intact(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def _raise_if_fatal(error: BaseException) -> None:
    """Raise where no other volume would fare better: a hidden interruption, no place to write."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause
        refused = isinstance(cause, PermissionError) and str(error).startswith("cannot write")
        if isinstance(cause, OSError) and (cause.errno in NO_WAY_ON or refused):
            raise error
        cause = cause.__cause__ or cause.__context__


def _message(error: Exception, volume: Volume) -> str:
    """Return one line that says what is wrong, without the folders that the files lie in."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        text = "out of memory; try fewer coils (`coils=8`)"
    elif not isinstance(error, (InputError, OSError)):
        text = f"{type(error).__name__}: {text} (a bug in mrunfold: please report it)"
    for folder in {volume.path.parent, volume.final.parent, volume.path.parent.absolute()}:
        if folder != Path("."):
            text = text.replace(f"{folder}{os.sep}", "")
    if volume.path.name not in text:
        text = f"{volume.path.name}: {text}"
    return text[:500]
