"""Push a folder: what is not confirmed yet is sent, again and again with growing pauses, then given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mrunfold.errors import InputError
from mrunfold.pacs.errors import Refused, Unreachable
from mrunfold.pacs.files import Instance, find_instances
from mrunfold.pacs.ledger import open_ledger
from mrunfold.pacs.peer import Peer, Web
from mrunfold.pacs.store import store
from mrunfold.pacs.stow import stow

__all__ = ["Pushed", "push"]

Progress = Callable[[float, int], None]
LONGEST_PAUSE = 60.0  # seconds


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    sent: instances confirmed now; before: confirmed by an earlier push; notes: what the other side remarked,
    by kind; ledger: the list that says so.
    """

    sent: int
    before: int
    ledger: Path
    notes: tuple[str, ...] = ()


@dataclass
class _State:
    waiting: list[Instance]
    sent: int = 0
    refused: list[tuple[Instance, str]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)


def push(
    folder: Path,
    peer: Peer | Web,
    *,
    retries: int = 5,
    pause: float = 1.0,
    timeout: float = 30.0,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Send every DICOM file under `folder` (or one file) that `peer` has not confirmed yet.

    retries: further tries after one that brought nothing new; pause: seconds before the first of them,
    doubled for each further one up to a minute; timeout: seconds to wait for an answer.  A confirmed file is
    noted at once beside the folder, so that the same call goes on after a crash.  Sending twice is harmless:
    UIDs follow content.  Raises InputError where files are damaged, the peer refuses them or cannot be
    reached; what was confirmed until then stays confirmed.
    """
    instances = find_instances(folder)
    with open_ledger(folder, peer.name) as ledger:
        state = _State([i for i in instances if not ledger.has(i)])
        before = len(instances) - len(state.waiting)
        tries = 0
        while state.waiting:
            reached = len(state.waiting)
            try:
                for instance, note in _deliver(state, peer, timeout):
                    ledger.add(instance)
                    state.waiting.remove(instance)
                    state.sent += 1
                    if note:
                        state.notes[note] = None
                    if progress is not None:
                        progress(before + state.sent, len(instances))
            except Unreachable as error:
                tries = 0 if len(state.waiting) < reached else tries + 1
                if tries > retries or error.final:
                    raise InputError(_gave_up(peer, error, before + state.sent, len(instances))) from None
                sleep(min(pause * 2 ** max(tries - 1, 0), LONGEST_PAUSE))
    if state.refused:
        instance, reason = state.refused[0]
        raise InputError(
            f"{peer.name} refused {len(state.refused)} of {len(instances)} files, the first {instance.path}: "
            f"{reason}; the others are stored"
        )
    return Pushed(state.sent, before, ledger.path, tuple(state.notes))


def _deliver(state: _State, peer: Peer | Web, timeout: float) -> Iterator[tuple[Instance, str | None]]:
    """Yield what the peer confirms, with its remark; set aside what it refuses for good."""
    waiting = list(state.waiting)
    outcomes = store(waiting, peer, timeout) if isinstance(peer, Peer) else stow(waiting, peer, timeout)
    for instance, outcome in outcomes:
        if isinstance(outcome, Refused):
            state.refused.append((instance, outcome.reason))
            state.waiting.remove(instance)
        else:
            yield instance, outcome


def _gave_up(peer: Peer | Web, error: Unreachable, stored: int, total: int) -> str:
    return (
        f"{peer.name}: {error.reason}; {stored} of {total} files are stored; {error.way_out}, then run the "
        "same command again, it goes on from there"
    )
