"""Files of JSON lines to which lines are only ever added, and the lock that lets one process do so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from mrunfold.errors import InputError
from mrunfold.io.source import open_regular
from mrunfold.text import utf8_json

__all__ = ["append_line", "only_process", "read_lines"]

Record = TypeVar("Record")


def read_lines(path: Path, parse: Callable[[Any], Record | None], remedy: str) -> list[Record]:
    """Return the records of a file, none where there is no file; a last line that a crash tore is cut off.

    parse: makes a record of a line's JSON value, None where it is none; remedy: what to do about such a line,
    for the InputError that it raises.  Only the process that holds the file may call this.
    """
    if not os.path.lexists(path):
        return []
    with open_regular(path) as file:
        data = file.read()
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].splitlines(keepends=True)
    records = [_parsed(line, parse) for line in lines]
    if records and records[-1] is None:  # its length reached the disk, its content did not
        whole -= len(lines.pop())
        records.pop()
    found = [record for record in records if record is not None]
    if len(found) < len(records):
        number = records.index(None) + 1
        raise InputError(f"{path}: line {number} is not readable; {remedy}")
    if whole < len(data):
        with open(path, "rb+") as torn:
            torn.truncate(whole)
            os.fsync(torn.fileno())
    return found


def _parsed(line: bytes, parse: Callable[[Any], Record | None]) -> Record | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return parse(value)


def append_line(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Add a record as a line and return it as it will be read; it is on the disk when this returns.

    OSError where the disk refuses.
    """
    line = utf8_json(record) + "\n"
    with open(path, "ab", buffering=0) as file:
        rest = memoryview(line.encode("utf-8"))
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    read: dict[str, Any] = json.loads(line)
    return read


@contextmanager
def only_process(
    lock: Path, busy: str, refused: Callable[[str], str], remove: bool = False
) -> Iterator[None]:
    """Hold `lock` for this process; InputError `busy` where another holds it, `refused(reason)` on refusal.

    The system itself lets go of the lock when a process dies, however it dies.  remove: the file afterwards.
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise InputError(busy) from None
    except OSError as error:
        raise InputError(refused(error.strerror or "it refuses a lock")) from error
    try:
        yield
    finally:
        held.release()
        if remove:
            lock.unlink(missing_ok=True)
