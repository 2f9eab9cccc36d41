"""What a batch has done so far: manifest.jsonl, to which lines are only ever added."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mrunfold.export.record import plain
from mrunfold.io.jsonl import append_line, only_process, read_lines

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
        for record in read_lines(self._path, _record, "remove it, its volume is done again"):
            self._take(record)

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
        self._take(append_line(self._path, plain(record)))


def _record(record: Any) -> dict[str, Any] | None:
    """Return a line's object, None where it is not one of ours."""
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


def only_batch(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder for this process; InputError where another holds it or it cannot be written."""
    return only_process(
        folder / LOCK,
        f"another batch is writing to {folder}; wait until it ends or choose another `out`",
        lambda reason: f"cannot write in {folder} ({reason}); choose another `out`",
    )
