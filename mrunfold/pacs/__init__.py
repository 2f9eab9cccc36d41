"""Sending DICOM files to a PACS: C-STORE or STOW-RS, with a list that lets a push go on where it died."""

from mrunfold.pacs.commit import Commitment
from mrunfold.pacs.files import Instance, find_instances
from mrunfold.pacs.ledger import Ledger, ledger_path
from mrunfold.pacs.peer import Peer, Web, parse_peer, parse_url
from mrunfold.pacs.push import Pushed, push

__all__ = [
    "Commitment",
    "Instance",
    "Ledger",
    "Peer",
    "Pushed",
    "Web",
    "find_instances",
    "ledger_path",
    "parse_peer",
    "parse_url",
    "push",
]
