"""C-STORE by pynetdicom."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mrunfold.errors import InputError
from mrunfold.pacs.errors import Refused, Unreachable
from mrunfold.pacs.files import Instance, batches, read_instance
from mrunfold.pacs.peer import Peer, tls_context

__all__ = ["associate", "store"]

MOST_CONTEXTS = 128  # of one association, PS3.8
# PS3.4 annex B.2.3: what is worth another try, and what is not.
OUT_OF_RESOURCES = range(0xA700, 0xA800)
NO_SUCH_CLASS = 0x0122  # PS3.7 C.5.6
ALERT = 0.3  # seconds
WARNINGS = {0xB000: "stored, but some attributes were coerced", 0xB006: "stored, but elements were discarded"}
WARNINGS[0xB007] = "stored, but the data set does not match its SOP class, as the PACS sees it"


def store(
    instances: list[Instance], peer: Peer, timeout: float
) -> Iterator[tuple[Instance, Refused | str | None]]:
    """Send instances in as few associations as possible and yield each with a remark, or Refused.

    Raises Unreachable where an association cannot be had or is lost.
    """
    for run in batches(instances, MOST_CONTEXTS):
        yield from _one_association(run, peer, timeout)


def _one_association(
    instances: list[Instance], peer: Peer, timeout: float
) -> Iterator[tuple[Instance, Refused | str | None]]:
    # A context each, so that what the PACS takes is known for each: it picks one syntax of a context.
    contexts = dict.fromkeys((i.sop_class, i.syntax) for i in instances)
    association = associate(contexts, peer, timeout)
    if association is None:
        yield from ((instance, _not_taken(instance)) for instance in instances)
        return
    accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
    try:
        for instance in instances:
            if (instance.sop_class, instance.syntax) not in accepted:
                yield instance, _not_taken(instance)
                continue
            yield instance, _send(association, instance)
        association.release()
    finally:
        if association.is_established:
            association.abort()


def _not_taken(instance: Instance) -> Refused:
    return Refused(f"it takes no {_name(instance.sop_class)} as {_name(instance.syntax)}", whole_class=True)


def associate(
    contexts: Iterable[tuple[str, str | None]], peer: Peer, timeout: float, handlers: Sequence[Any] = ()
) -> Any:
    """Return an established association, None where the peer accepts none of the contexts.

    contexts: (SOP class, transfer syntax, None: pynetdicom's); handlers: of events, as pynetdicom takes them.
    Raises Unreachable where it cannot be had.
    """
    try:
        from pynetdicom import AE
    except ImportError:
        raise InputError("push `to` needs pynetdicom; pip install 'mrunfold[clinical]'") from None
    entity = AE(ae_title=peer.calling)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = timeout
    entity.network_timeout = timeout
    for sop_class, syntax in contexts:
        if syntax is None:
            entity.add_requested_context(sop_class)
        else:
            entity.add_requested_context(sop_class, syntax)
    tls = None
    if peer.tls is not None:
        context = tls_context(peer.tls)
        _handshake(context, peer, timeout)
        tls = (context, peer.host)
    association = entity.associate(
        peer.host, peer.port, ae_title=peer.title, tls_args=tls, evt_handlers=[*handlers]
    )
    if association.is_established:
        return association
    if association.is_rejected:
        raise _rejection(association, peer)
    if association.rejected_contexts and not association.accepted_contexts:
        return None  # it answered, and takes nothing of this
    if association.is_aborted and not association.acceptor.primitive:
        hint = "see that it runs, that host and port are right" + (" and that it speaks TLS" if tls else "")
        raise Unreachable("no answer, or the connection was refused", hint)
    raise Unreachable("it ended the connection instead of answering")


def _handshake(context: ssl.SSLContext, peer: Peer, timeout: float) -> None:
    """Raise Unreachable, final, where TLS fails: pynetdicom would say that nobody answers."""
    try:
        with (
            socket.create_connection((peer.host, peer.port), timeout) as raw,
            context.wrap_socket(raw, server_hostname=peer.host) as secure,
        ):
            secure.settimeout(ALERT)  # in TLS 1.3 the other side judges our certificate after the handshake
            with contextlib.suppress(TimeoutError):
                secure.recv(1)
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(
            f"its certificate is not trusted ({error.verify_message})",
            "give its authority with `ca`",
            final=True,
        ) from None
    except ssl.SSLError as error:
        reason = str(error.reason or error).replace("_", " ").lower()
        hint = "give `cert` and `key`" if "certificate" in reason else "see that this port speaks TLS"
        raise Unreachable(f"TLS failed ({reason})", hint, final=True) from None
    except OSError:
        pass  # the association meets it as well, and says so


def _rejection(association: Any, peer: Peer) -> Unreachable:
    """Return what to say of a rejection: an answer, which waiting changes only where it says so itself."""
    answer = association.acceptor.primitive
    if answer is None:
        return Unreachable("it rejects the association and does not say why", "ask its keeper", final=True)
    # PS3.8 9.3.4: source 3 is the presentation layer: 1 is congestion, 2 that too many are connected.
    if answer.result == 2 and answer.result_source == 3 and answer.diagnostic in (1, 2):
        return Unreachable(f"it is busy ({answer.reason_str})")
    return Unreachable(
        f"it rejects the association ({answer.reason_str})",
        f"have it know the titles: it is called '{peer.title}', this side '{peer.calling}'",
        final=True,
    )


def _send(association: Any, instance: Instance) -> Refused | str | None:
    found, dataset = read_instance(instance.path)
    if found != instance:
        raise InputError(f"{instance.path} changed while it was pushed; push again when it is complete")
    if not association.is_established:
        raise Unreachable("the connection was lost")
    try:
        status = association.send_c_store(dataset)
    except RuntimeError:  # how pynetdicom says that the association ended between the two lines above
        raise Unreachable("the connection was lost") from None
    if "Status" not in status:
        raise Unreachable("the connection was lost, or no answer came in time")
    code = int(status.Status)
    if code == 0 or code in WARNINGS:
        return WARNINGS.get(code)
    if code == NO_SUCH_CLASS:
        return _not_taken(instance)
    if code in OUT_OF_RESOURCES:
        raise Unreachable("it is out of resources", "free some space there")
    comment = f" {status.ErrorComment}" if "ErrorComment" in status else ""
    return Refused(f"status 0x{code:04X}{comment}")


def _name(uid: str) -> str:
    from pydicom.uid import UID

    return UID(uid).name
