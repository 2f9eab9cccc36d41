"""What a batch has done so far: manifest.jsonl, to which lines are only ever added."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mrunfold.errors import InputError
from mrunfold.export.record import plain
from mrunfold.io.source import open_regular
from mrunfold.text import utf8_json

__all__ = ["MANIFEST", "Manifest", "only_batch"]

MANIFEST = "manifest.jsonl"
LOCK = ".mrunfold-batch.lock"
SHA256 = re.compile(r"[0-9a-f]{64}")


class Manifest:
    """The manifest of a folder: its settings, and the last line of each volume under them.

    A line is a JSON object, with "settings" and "settings_digest" where a batch began, else of a volume
    ("name", "status", …).  A last line that a crash tore is cut off when the file is opened, so open it under
    `only_batch` alone.  Raises InputError where any other line is not one that a batch writes: names in it
    become paths, and what it lists may be replaced.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST
        self.settings: dict[str, Any] | None = None
        self.digest = ""
        self.volumes: dict[str, dict[str, Any]] = {}
        self.listed: set[str] = set()
        """Names of all volumes that were ever written, under earlier settings too."""
        if os.path.lexists(self._path):
            self._load()

    def _load(self) -> None:
        with open_regular(self._path) as file:
            data = file.read()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].splitlines(keepends=True)
        records = [_record(line) for line in lines]
        if records and records[-1] is None:  # its length reached the disk, its content did not
            whole -= len(lines.pop())
            records.pop()
        for number, record in enumerate(records, start=1):
            if record is None:
                raise InputError(
                    f"{self._path}: line {number} is not readable; remove it, its volume is done again"
                )
            self._take(record)
        if whole < len(data):
            with open(self._path, "rb+") as torn:
                torn.truncate(whole)
                os.fsync(torn.fileno())

    def _take(self, record: dict[str, Any]) -> None:
        if "settings" in record:
            self.settings, self.digest = record["settings"], record["settings_digest"]
            self.volumes = {n: r for n, r in self.volumes.items() if r["settings_digest"] == self.digest}
        else:
            self.volumes[record["name"]] = record
            if record["status"] == "ok":
                self.listed.add(record["name"])

    def begin(self, settings: dict[str, Any], digest: str) -> None:
        """Add the line from which these settings hold; volumes under others count no more."""
        self._add({"settings": settings, "settings_digest": digest})

    def add(self, record: dict[str, Any]) -> None:
        """Add a volume's line; it is on the disk when this returns, OSError where it cannot be."""
        self._add({**record, "settings_digest": self.digest})

    def _add(self, record: dict[str, Any]) -> None:
        line = utf8_json(plain(record)) + "\n"
        with open(self._path, "ab", buffering=0) as file:
            rest = memoryview(line.encode("utf-8"))
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        self._take(json.loads(line))


def _record(line: bytes) -> dict[str, Any] | None:
    """Return a line's object, None where it is not one of ours."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not _is_digest(record.get("settings_digest")):
        return None
    good = isinstance(record["settings"], dict) if "settings" in record else _is_volume(record)
    return record if good else None


def _is_volume(record: dict[str, Any]) -> bool:
    """Whether a line's name is that of a file in the folder, and its fields are what a batch writes."""
    name, status = record.get("name"), record.get("status")
    if not isinstance(name, str) or not _is_plain(f"{name}.h5"):
        return False
    digests = record.get("input_sha256"), record.get("output_sha256")
    if not isinstance(record.get("message", ""), str):
        return False
    if status == "ok":
        return all(map(_is_digest, digests))
    return status == "failed" and all(one is None or _is_digest(one) for one in digests)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _is_plain(name: str) -> bool:
    return "\0" not in name and "/" not in name and Path(name).name == name


@contextmanager
def only_batch(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; InputError where another holds it or it cannot be written.

    The system itself lets go of the lock when a process dies, however it dies.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another batch is writing to {folder}; wait until it ends or choose another --out"
        ) from None
    except OSError as error:
        reason = error.strerror or "it refuses a lock"
        raise InputError(f"cannot write in {folder} ({reason}); choose another --out") from error
    try:
        yield
    finally:
        lock.release()
