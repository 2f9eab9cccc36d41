"""Storage commitment: whether a PACS answers for keeping what it got (PS3.4 annex J, push model)."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mrunfold.errors import InputError
from mrunfold.pacs.files import Instance
from mrunfold.pacs.peer import Peer, Tls, tls_context
from mrunfold.pacs.store import associate

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Answer", "Commitment", "commit"]

PUSH_MODEL = "1.2.840.10008.1.20.1"
WELL_KNOWN = "1.2.840.10008.1.20.1.1"  # its only instance
REQUEST = 1  # type of the action, PS3.4 J.3.2
SUCCESS, PROCESSING_FAILURE = 0x0000, 0x0110
# PS3.3 C.14: why it does not keep one.
REASONS = {
    0x0110: "processing failure",
    0x0112: "it does not hold it",
    0x0119: "it holds it as another class",
    0x0122: "it keeps none of this class",
    0x0131: "the same request came twice",
    0x0213: "it is out of resources",
}
GLANCE = 0.1  # seconds between two looks whether the connection still stands


@dataclass(frozen=True)
class Commitment:
    """How storage commitment is asked for: timeout: seconds to wait for the answer, 0: it is not asked for;
    port: where this side listens for it, None: it comes on the connection that asked, or never."""

    timeout: float = 30.0
    port: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a PACS answers: kept: SOP Instance UIDs that it commits to; failed: others, with the reason;
    why: why there is no answer, None where there is one."""

    kept: frozenset[str] = frozenset()
    failed: dict[str, str] = field(default_factory=dict)
    why: str | None = None


def commit(instances: Sequence[Instance], peer: Peer, timeout: float, how: Commitment) -> Answer:
    """Ask `peer` to commit to instances and return its answer.

    timeout: seconds for each message.  PACS answer on the same connection, or on one of their own to the
    title and port that their keeper has set.  Raises Unreachable where the peer cannot be reached, InputError
    where the port cannot be had.
    """
    transaction = _Transaction()
    with _listening(peer, how.port, transaction):
        association = associate([(PUSH_MODEL, None)], peer, timeout, transaction.handlers)
        if association is None:
            return Answer(why="it offers none")
        # An idle connection is not a lost one: the answer may take its time.
        association.network_timeout = how.timeout + timeout
        try:
            status, _ = association.send_n_action(
                transaction.request(instances), REQUEST, PUSH_MODEL, WELL_KNOWN
            )
            code = status.get("Status")
            if code != SUCCESS:
                said = "ends the connection" if code is None else f"refuses the request (status 0x{code:04X})"
                return Answer(why=f"it {said}; have its keeper allow it to '{peer.calling}'")
            return _wait(transaction, association, instances, peer, how)
        finally:
            if association.is_established:
                association.release()


def _wait(
    transaction: _Transaction, association: Any, instances: Sequence[Instance], peer: Peer, how: Commitment
) -> Answer:
    end = time.monotonic() + how.timeout
    while not transaction.answered.wait(GLANCE):
        if time.monotonic() > end or (how.port is None and not association.is_established):
            at = how.port or "PORT"
            give = "see that no firewall is between" if how.port else "give that port with `commitment_port`"
            return Answer(
                why=f"it took the request and did not answer within {how.timeout:g} s; have its keeper send "
                f"the answer to {peer.calling} at port {at} of this machine, and {give}"
            )
    kept, failed = transaction.kept, transaction.failed
    missing = {i.uid: "its answer does not name it" for i in instances if i.uid not in kept | set(failed)}
    return Answer(frozenset(kept), failed | missing)


class _Transaction:
    """A request and its answer, which another thread receives."""

    def __init__(self) -> None:
        from pydicom.uid import generate_uid

        self.uid = generate_uid(prefix=None)
        self.kept: set[str] = set()
        self.failed: dict[str, str] = {}
        self.answered = threading.Event()

    @property
    def handlers(self) -> list[Any]:
        from pynetdicom import evt

        return [(evt.EVT_N_EVENT_REPORT, self._report)]

    def request(self, instances: Sequence[Instance]) -> Dataset:
        from pydicom.dataset import Dataset

        wanted = Dataset()
        wanted.TransactionUID = self.uid
        wanted.ReferencedSOPSequence = []
        for instance in instances:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.sop_class, instance.uid
            wanted.ReferencedSOPSequence.append(item)
        return wanted

    def _report(self, event: Any) -> tuple[int, None]:
        said = event.event_information
        if said.get("TransactionUID") != self.uid or self.answered.is_set():
            return PROCESSING_FAILURE, None
        self.kept = {str(item.ReferencedSOPInstanceUID) for item in said.get("ReferencedSOPSequence") or ()}
        for item in said.get("FailedSOPSequence") or ():
            code = int(item.get("FailureReason", PROCESSING_FAILURE))
            self.failed[str(item.ReferencedSOPInstanceUID)] = REASONS.get(
                code, f"failure reason 0x{code:04X}"
            )
        self.answered.set()
        return SUCCESS, None


@contextmanager
def _listening(peer: Peer, port: int | None, transaction: _Transaction) -> Iterator[None]:
    """Listen for the answer, to this machine alone where the PACS is on it."""
    if port is None:
        yield
        return
    from pynetdicom import AE

    entity = AE(ae_title=peer.calling)
    entity.require_called_aet = True
    # The PACS opens this connection as the provider of the service: PS3.7 D.3.3.4 roles.
    entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
    secure = None if peer.tls is None else _server_context(peer.tls)
    try:
        server = entity.start_server(
            ("127.0.0.1" if peer.on_this_machine else "", port),
            block=False,
            ssl_context=secure,
            evt_handlers=transaction.handlers,
        )
    except OSError as error:
        raise InputError(
            f"cannot listen at port {port} ({error.strerror or error}); give `commitment_port` a free one"
        ) from None
    assert server is not None  # there is none only where starting it waits for its end
    try:
        yield
    finally:
        server.shutdown()


def _server_context(tls: Tls) -> ssl.SSLContext:
    """Return what encrypts a connection that the PACS opens, with this side's own certificate."""
    if tls.own is None:
        raise InputError("`commitment_port` with TLS needs this side's certificate; give `cert` and `key`")
    tls_context(tls)  # says which file cannot be used
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(tls.own[0]), str(tls.own[1]))
    if tls.authority is not None:
        context.load_verify_locations(str(tls.authority))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
