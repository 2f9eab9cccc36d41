"""What has been sent where: a list beside the pushed folder, to which lines are only ever added."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mrunfold.errors import InputError
from mrunfold.io.source import open_regular
from mrunfold.pacs.files import Instance, export_root

__all__ = ["Ledger", "ledger_path", "open_ledger"]


def ledger_path(folder: Path) -> Path:
    """Return where the list of a folder lies: NAME.push.jsonl beside it, or beside the export that it is in.

    An export stays as it was written, and what is pushed of it in parts has one list.
    """
    folder = folder.absolute()
    folder = export_root(folder) or folder
    if not folder.name:
        raise InputError(f"{folder} has no name to write a list beside; give a folder inside of it")
    return folder.with_name(f"{folder.name}.push.jsonl")


class Ledger:
    """Instances that a destination has confirmed, by UID with the sha256 of the file that was sent.

    A line is JSON: "to", "uid", "sha256"; nothing of a patient is in it.  A last line that a crash tore is
    cut off.  Raises InputError where any other line is not readable.
    """

    def __init__(self, path: Path, to: str) -> None:
        self.path, self._to = path, to
        self._sent: dict[str, str] = {}
        if path.exists():
            self._load()

    def _load(self) -> None:
        with open_regular(self.path) as held:
            data = held.read()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                record = json.loads(line)
                to, uid, digest = (str(record[key]) for key in ("to", "uid", "sha256"))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise InputError(
                    f"{self.path}: line {number} is not readable; remove the file, everything is sent again"
                ) from None
            if to == self._to:
                self._sent[uid] = digest
        if whole < len(data):
            with open(self.path, "rb+") as file:
                file.truncate(whole)

    def has(self, instance: Instance) -> bool:
        """Whether this very file was sent; InputError where another content with its UID was.

        A PACS keeps the image that it has when the same UID comes again: the new one would be lost.
        """
        sent = self._sent.get(instance.uid)
        if sent is not None and sent != instance.digest:
            raise InputError(
                f"{instance.path} has changed since it was sent to {self._to}, and its UID has not: a PACS "
                f"keeps the old one; export again, or remove {self.path} to send it nevertheless"
            )
        return sent is not None

    def add(self, instance: Instance) -> None:
        """Note that the destination has it; the line is on the disk when this returns."""
        record = {"to": self._to, "uid": instance.uid, "sha256": instance.digest}
        with open(self.path, "ab", buffering=0) as file:
            line = (json.dumps(record) + "\n").encode()
            if file.write(line) != len(line):
                raise OSError(28, "no space left on the disk", str(self.path))
            os.fsync(file.fileno())
        self._sent[instance.uid] = instance.digest


@contextmanager
def open_ledger(folder: Path, to: str) -> Iterator[Ledger]:
    """Give the Ledger of `folder` to one process at a time; InputError where another one pushes it now."""
    path = ledger_path(folder)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder} is being pushed by another process; wait for it") from None
    try:
        yield Ledger(path, to)
    finally:
        lock.release()
        # The list stays, the lock need not.
        Path(lock.lock_file).unlink(missing_ok=True)
