"""Push a folder: what is not confirmed yet is sent, again and again with growing pauses, then given up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mrunfold.errors import InputError
from mrunfold.pacs.commit import Commitment, commit
from mrunfold.pacs.errors import Refused, Unreachable
from mrunfold.pacs.files import Instance, find_instances
from mrunfold.pacs.ledger import Ledger, open_ledger
from mrunfold.pacs.peer import Peer, Web
from mrunfold.pacs.query import held
from mrunfold.pacs.store import store
from mrunfold.pacs.stow import stow

__all__ = ["Pushed", "push"]

Progress = Callable[[float, int], None]
LONGEST_PAUSE = 60.0  # seconds


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    sent: instances confirmed now; before: those that were there; asked: whether the other side itself said so
    of the latter, rather than the list; refused: what it takes none of, by reason, with the number of files;
    notes: what the other side remarked, by kind; ledger: the list; committed: how many it commits to keep.
    """

    sent: int
    before: int
    ledger: Path
    notes: tuple[str, ...] = ()
    refused: tuple[tuple[str, int], ...] = ()
    asked: bool = False
    committed: int = 0


@dataclass
class _State:
    waiting: list[Instance]
    sent: list[Instance] = field(default_factory=list)
    refused: list[tuple[Instance, Refused]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)


def push(
    folder: Path,
    peer: Peer | Web,
    *,
    verify: bool = False,
    again: bool = False,
    commitment: Commitment = Commitment(),  # noqa: B008  frozen
    retries: int = 5,
    pause: float = 1.0,
    timeout: float = 30.0,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Send every DICOM file under `folder` (or one file) that `peer` has not confirmed yet.

    verify: ask the peer (C-FIND, QIDO-RS) what it holds, before and after, and for storage commitment as
    `commitment` has it; without, it is asked what it holds where the list says that it has everything; what
    it lacks is sent again.  again: send everything, whatever the list says.  retries: further tries after
    one that brought nothing new; pause: seconds before the first of them, doubled for each further one up to
    a minute; timeout: seconds to wait for an answer.  A confirmed file is noted at once, so that the same
    call goes on after a crash.  Sending twice is harmless: UIDs follow content.  What the peer takes none of
    is left out and said.  Raises InputError where files are damaged, the peer refuses them or everything,
    cannot be reached, cannot be asked where `verify` wants it, or does not commit to one; what was confirmed
    until then stays confirmed.
    """
    instances = find_instances(folder)
    with open_ledger(folder, peer.name) as ledger:
        listed = [] if again else [i for i in instances if ledger.has(i)]
        named = {i.uid for i in listed}
        state = _State([i for i in instances if i.uid not in named])
        asked = False
        if listed and (verify or not state.waiting):
            there = _ask(listed, peer, verify, state, timeout)
            asked = there is not None
            lost = [] if there is None else [i for i in listed if i.uid not in there]
            if lost:
                state.notes[f"{len(lost)} files that the list names were not there: sent again"] = None
                state.waiting += lost
        before = len(instances) - len(state.waiting)

        def delivered() -> None:
            if progress is not None:
                progress(before + len(state.sent), len(instances))

        _send_all(state, peer, ledger, (retries, pause, timeout), sleep, before, delivered)
        committed = 0
        if verify:
            _check_sent(state, peer, timeout)
            committed = _commit(instances, state, peer, timeout, commitment)
    _raise_refused(state, peer, before, len(instances))
    kinds = Counter(refused.reason for _, refused in state.refused)
    return Pushed(
        len(state.sent), before, ledger.path, tuple(state.notes), tuple(kinds.items()), asked, committed
    )


def _ask(
    instances: list[Instance], peer: Peer | Web, verify: bool, state: _State, timeout: float
) -> set[str] | None:
    """Return what the peer holds; None, with a note, where it cannot be asked, InputError with `verify`."""
    try:
        there, why = held(instances, peer, timeout), "it offers no query to this side"
    except Unreachable as error:
        there, why = None, error.reason
        if error.final:
            raise InputError(f"{peer.name}: {error.reason}; {error.way_out}") from None
    if there is None and verify:
        raise InputError(
            f"{peer.name} cannot be asked what it holds ({why}); allow C-FIND or QIDO-RS to this side, or "
            "leave `verify` out"
        )
    if there is None:
        state.notes[f"only the list says what is there ({why}); `again` sends everything again"] = None
    return there


def _check_sent(state: _State, peer: Peer | Web, timeout: float) -> None:
    """Raise InputError where the peer does not find what it has just confirmed."""
    there = _ask(state.sent, peer, True, state, timeout) if state.sent else set()
    if gone := [i for i in state.sent if i.uid not in (there or ())]:
        raise InputError(
            f"{peer.name} confirmed {len(gone)} files and does not find them, the first {gone[0].path}; see "
            "whether it keeps them elsewhere, or push with `again`"
        )


def _commit(
    instances: list[Instance], state: _State, peer: Peer | Web, timeout: float, how: Commitment
) -> int:
    """Return how many instances the peer commits to keep; a note says where it gives no answer.

    Raises InputError where it will not keep one, and where it gives no answer though a port was given for it.
    """
    refused = {instance.uid for instance, _ in state.refused}
    wanted = [i for i in instances if i.uid not in refused]
    if isinstance(peer, Web) or not how.timeout or not wanted:
        return 0
    try:
        answer = commit(wanted, peer, timeout, how)
    except Unreachable as error:
        raise InputError(f"{peer.name}: {error.reason}; {error.way_out}, then push again") from None
    if answer.why is not None:
        if how.port is not None:
            raise InputError(f"{peer.name}, storage commitment: {answer.why}")
        state.notes[f"storage commitment: {answer.why}"] = None
        return 0
    lost = [i for i in wanted if i.uid not in answer.kept]
    if lost:
        raise InputError(
            f"{peer.name} does not commit to keep {len(lost)} of {len(wanted)} files, the first "
            f"{lost[0].path}: {answer.failed[lost[0].uid]}; ask its keeper, or push with `again`"
        )
    return len(wanted)


def _send_all(
    state: _State,
    peer: Peer | Web,
    ledger: Ledger,
    patience: tuple[int, float, float],
    sleep: Callable[[float], None],
    before: int,
    delivered: Callable[[], None],
) -> None:
    """Send what waits, with tries and growing pauses; patience: retries, first pause and timeout."""
    retries, pause, timeout = patience
    total = before + len(state.waiting)
    tries = 0
    while state.waiting:
        reached = len(state.waiting)
        try:
            for instance, note in _deliver(state, peer, timeout):
                ledger.add(instance)
                state.waiting.remove(instance)
                state.sent.append(instance)
                if note:
                    state.notes[note] = None
                delivered()
        except Unreachable as error:
            tries = 0 if len(state.waiting) < reached else tries + 1
            if tries > retries or error.final:
                raise InputError(_gave_up(peer, error, before + len(state.sent), total)) from None
            sleep(min(pause * 2 ** max(tries - 1, 0), LONGEST_PAUSE))


def _raise_refused(state: _State, peer: Peer | Web, before: int, total: int) -> None:
    """Raise InputError where a file was refused for its own sake, or everything was."""
    own = [(instance, refused) for instance, refused in state.refused if not refused.whole_class]
    if own:
        instance, refused = own[0]
        raise InputError(
            f"{peer.name} refused {len(own)} of {total} files, the first {instance.path}: {refused.reason}; "
            "the others are stored"
        )
    if state.refused and not state.sent and not before:
        raise InputError(f"{peer.name} took nothing: {state.refused[0][1].reason}; have it take this kind")


def _deliver(state: _State, peer: Peer | Web, timeout: float) -> Iterator[tuple[Instance, str | None]]:
    """Yield what the peer confirms, with its remark; set aside what it refuses for good."""
    waiting = list(state.waiting)
    outcomes = store(waiting, peer, timeout) if isinstance(peer, Peer) else stow(waiting, peer, timeout)
    for instance, outcome in outcomes:
        if isinstance(outcome, Refused):
            state.refused.append((instance, outcome))
            state.waiting.remove(instance)
        else:
            yield instance, outcome


def _gave_up(peer: Peer | Web, error: Unreachable, stored: int, total: int) -> str:
    return (
        f"{peer.name}: {error.reason}; {stored} of {total} files are stored; {error.way_out}, then run the "
        "same command again, it goes on from there"
    )
