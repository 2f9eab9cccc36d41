"""C-STORE by pynetdicom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrunfold.errors import InputError
from mrunfold.extras import require
from mrunfold.pacs.errors import Refused, Unreachable
from mrunfold.pacs.files import Instance, batches, read_instance
from mrunfold.pacs.peer import Peer, tls_context

__all__ = ["store"]

MOST_CONTEXTS = 128  # of one association, PS3.8
# PS3.4 annex B.2.3: what is worth another try, and what is not.
OUT_OF_RESOURCES = range(0xA700, 0xA800)
WARNINGS = {0xB000: "some attributes were coerced", 0xB006: "elements were discarded"}
WARNINGS[0xB007] = "the data set does not match its SOP class, as the PACS sees it"


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
    association = _associate(instances, peer, timeout)
    accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
    try:
        for instance in instances:
            if (instance.sop_class, instance.syntax) not in accepted:
                yield (
                    instance,
                    Refused(f"it takes no {_name(instance.sop_class)} as {_name(instance.syntax)}"),
                )
                continue
            yield instance, _send(association, instance, peer)
        association.release()
    finally:
        if association.is_established:
            association.abort()


def _associate(instances: list[Instance], peer: Peer, timeout: float) -> Any:
    require("pynetdicom", what="C-STORE (push --to)")
    from pynetdicom import AE

    entity = AE(ae_title=peer.calling)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = timeout
    entity.network_timeout = timeout
    for sop_class, syntax in dict.fromkeys((i.sop_class, i.syntax) for i in instances):
        # A context each, so that what the PACS takes is known for each: it picks one syntax of a context.
        entity.add_requested_context(sop_class, syntax)
    tls = None if peer.tls is None else (tls_context(peer.tls), peer.host)
    association = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=tls)
    if association.is_established:
        return association
    if association.is_rejected:
        raise _rejection(association, peer)
    if association.is_aborted and not association.acceptor.primitive:
        hint = "see that it runs, that host and port are right" + (" and that it speaks TLS" if tls else "")
        raise Unreachable("no answer, or the connection was refused", hint)
    raise Unreachable("it ended the connection instead of answering")


def _rejection(association: Any, peer: Peer) -> Unreachable:
    answer = association.acceptor.primitive
    # PS3.8 9.3.4: a permanent rejection (1) is about titles, a transient one (2) about load.
    if answer is not None and answer.result == 1:
        return Unreachable(
            f"it rejects the association ({answer.reason_str})",
            f"have it know the titles: it is called '{peer.title}', this side '{peer.calling}'",
            final=True,
        )
    return Unreachable("it rejects associations for now")


def _send(association: Any, instance: Instance, peer: Peer) -> Refused | str | None:
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
    if code in OUT_OF_RESOURCES:
        raise Unreachable("it is out of resources", "free some space there")
    comment = f" {status.ErrorComment}" if "ErrorComment" in status else ""
    return Refused(f"status 0x{code:04X}{comment}")


def _name(uid: str) -> str:
    from pydicom.uid import UID

    return UID(uid).name
