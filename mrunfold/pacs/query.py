"""What the other side holds: C-FIND or QIDO-RS, asked for the instances of each series."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

from mrunfold.pacs.errors import Unreachable
from mrunfold.pacs.files import Instance
from mrunfold.pacs.peer import Peer, Web
from mrunfold.pacs.store import associate
from mrunfold.pacs.stow import opener_of, unreachable

__all__ = ["held"]

SOP_INSTANCE = "00080018"
PAGE = 500  # instances an answer of QIDO-RS
MOST = 1_000_000  # of one series; a service that never ends is none
LONGEST_ANSWER = 1 << 26
PENDING = (0xFF00, 0xFF01)


def held(instances: Iterable[Instance], peer: Peer | Web, timeout: float) -> set[str] | None:
    """Return the SOP Instance UIDs that `peer` holds of the series of these instances.

    None where it offers no query, or one of them names no study and series.  Raises Unreachable as sending
    does.
    """
    series = dict.fromkeys((i.study, i.series) for i in instances)
    if not all(study and one for study, one in series):
        return None
    found: set[str] = set()
    answers = _find(series, peer, timeout) if isinstance(peer, Peer) else _qido(series, peer, timeout)
    for uids in answers:
        if uids is None:
            return None
        found |= uids
    return found


def _find(series: Iterable[tuple[str, str]], peer: Peer, timeout: float) -> Iterator[set[str] | None]:
    from pydicom.dataset import Dataset
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find  # type: ignore[attr-defined, unused-ignore]

    association = associate([(str(Find), None)], peer, timeout)
    if association is None:
        yield None
        return
    try:
        for study, one in series:
            wanted = Dataset()
            wanted.QueryRetrieveLevel = "IMAGE"
            wanted.StudyInstanceUID, wanted.SeriesInstanceUID, wanted.SOPInstanceUID = study, one, ""
            uids: set[str] = set()
            for status, answer in association.send_c_find(wanted, Find):
                if "Status" not in status:
                    raise Unreachable("it ended the connection when it was asked what it holds")
                if status.Status in PENDING and answer is not None and "SOPInstanceUID" in answer:
                    uids.add(str(answer.SOPInstanceUID))
                elif status.Status not in (*PENDING, 0x0000):
                    yield None
                    return
            yield uids
        association.release()
    finally:
        if association.is_established:
            association.abort()


def _qido(series: Iterable[tuple[str, str]], web: Web, timeout: float) -> Iterator[set[str] | None]:
    opener = opener_of(web)
    for study, one in series:
        uids: set[str] = set()
        address = f"{web.url}/studies/{urllib.parse.quote(study)}/series/{urllib.parse.quote(one)}/instances"
        while len(uids) < MOST:
            page = _page(opener, f"{address}?limit={PAGE}&offset={len(uids)}", web, timeout)
            if page is None:
                yield None
                return
            if not page - uids:
                break
            uids |= page
        yield uids


def _page(opener: Any, address: str, web: Web, timeout: float) -> set[str] | None:
    headers = {"Accept": "application/dicom+json"}
    if web.authorization is not None:
        headers["Authorization"] = web.authorization
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=timeout) as answer:
            text = answer.read(LONGEST_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            # 404: it knows no such series; others: it does not answer questions.
            return set() if error.code == 404 else None
    except OSError as error:
        raise unreachable(error) from None
    if not text:
        return set()
    try:
        return {str(item[SOP_INSTANCE]["Value"][0]) for item in json.loads(text)}
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
