"""What has been sent where: a list beside the pushed folder, to which lines are only ever added."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrunfold.errors import InputError
from mrunfold.io.jsonl import append_line, only_process, read_lines
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
        for destination, uid, digest in read_lines(
            path, _confirmed, "remove the file, everything is sent again"
        ):
            if destination == to:
                self._sent[uid] = digest

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
        append_line(self.path, record)
        self._sent[instance.uid] = instance.digest


def _confirmed(record: Any) -> tuple[str, str, str] | None:
    """Return (to, uid, sha256) of a line, None where it is not one of ours."""
    if not isinstance(record, dict) or not {"to", "uid", "sha256"} <= record.keys():
        return None
    return str(record["to"]), str(record["uid"]), str(record["sha256"])


@contextmanager
def open_ledger(folder: Path, to: str) -> Iterator[Ledger]:
    """Give the Ledger of `folder` to one process at a time; InputError where another one pushes it now."""
    path = ledger_path(folder)
    busy = f"{folder} is being pushed by another process; wait for it"
    lock = path.with_name(f".{path.name}.lock")
    # The list stays, the lock need not.
    with only_process(lock, busy, lambda reason: f"cannot write beside {folder} ({reason})", remove=True):
        yield Ledger(path, to)
