"""`mrunfold push`: DICOM files to a PACS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrunfold.errors import InputError

if TYPE_CHECKING:
    from mrunfold.pacs import Peer, Pushed, Web

__all__ = ["push"]


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files, as `export` writes it.")],
    to: Annotated[str | None, typer.Option(help="The PACS, as AET@host:port.")] = None,
    dicomweb: Annotated[str | None, typer.Option(help="A DICOMweb service, as https://host/path.")] = None,
    calling: Annotated[str, typer.Option(help="This side's application entity title.")] = "MRUNFOLD",
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt, and check the certificate.")] = False,
    ca: Annotated[Path | None, typer.Option(help="CA certificates (PEM) instead of the system's.")] = None,
    cert: Annotated[Path | None, typer.Option(help="This side's certificate (PEM), with --key.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Ask the PACS what it holds, before and after, and to keep it.")
    ] = False,
    commitment_timeout: Annotated[
        float, typer.Option(min=0, help="With --verify: seconds for storage commitment, 0: not asked.")
    ] = 30.0,
    commitment_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port for its answer, if the PACS calls back.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Send everything, whatever the list says.")] = False,
    retries: Annotated[int, typer.Option(min=0, help="Tries after one that brought nothing.")] = 5,
    pause: Annotated[float, typer.Option(min=0, help="Seconds before the first, then doubled.")] = 1.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Send DICOM files to a PACS, by C-STORE or STOW-RS.

    What is stored is noted in FOLDER.push.jsonl: after a failure the same command goes on from there.
    MRUNFOLD_DICOMWEB_AUTH holds the Authorization header that a DICOMweb service asks for.
    Example: mrunfold push recon_dicom --to ORTHANC@localhost:4242
    """
    from mrunfold.cli.console import note, print_error, slice_progress
    from mrunfold.extras import require
    from mrunfold.pacs import Commitment
    from mrunfold.pacs import push as send

    require("pydicom", what="push")
    if commitment_port is not None and not (verify and to and commitment_timeout):
        raise InputError("--commitment-port belongs to --to and --verify; give both")
    peer = _peer(to, dicomweb, calling, tls, ca, cert, key)
    if peer.open_to_others:
        note("note: this connection is not encrypted; add --tls, or use https://", quiet)
    try:
        with slice_progress(quiet) as progress:
            how: dict[str, Any] = {
                "verify": verify,
                "again": again,
                "retries": retries,
                "pause": pause,
                "timeout": timeout,
            }
            how["commitment"] = Commitment(commitment_timeout, commitment_port)
            done = send(folder, peer, progress=progress, **how)
    except KeyboardInterrupt:
        print_error("what was confirmed is noted; the same command goes on from there", label="interrupted")
        raise typer.Exit(130) from None
    _report(done, peer.name, quiet)


def _peer(
    to: str | None,
    dicomweb: str | None,
    calling: str,
    tls: bool,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
) -> Peer | Web:
    """Return where to push to; InputError where the options do not go together."""
    import os

    from mrunfold.pacs import parse_peer, parse_url
    from mrunfold.pacs.peer import Tls

    if (to is None) == (dicomweb is None):
        raise InputError("say where to: either --to AET@host:port or --dicomweb URL")
    if (cert is None) != (key is None):
        raise InputError("--cert and --key belong together; give both")
    own = None if cert is None or key is None else (cert, key)
    secure = Tls(ca, own) if tls or ca or own else None
    if to is not None:
        return parse_peer(to, calling, secure)
    assert dicomweb is not None
    return parse_url(dicomweb, os.environ.get("MRUNFOLD_DICOMWEB_AUTH"), secure)


def _report(done: Pushed, name: str, quiet: bool) -> None:
    """Print what was stored, what was there, and what was refused: that is printed even when quiet."""
    from mrunfold.cli.console import note, print_error

    for remark in done.notes:
        note(f"note: {remark}", quiet)
    for reason, count in done.refused:
        print_error(f"{count} files: {reason}; all others are stored", label="refused")
    says = "as it says" if done.asked else "as the list says"
    before = f", {done.before} were there before, {says}" if done.before else ""
    kept = f", {done.committed} are committed to be kept" if done.committed else ""
    note(f"{name}: stored {done.sent} files{before}{kept}; list: {done.ledger}", quiet)
