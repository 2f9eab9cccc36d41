"""`mrunfold serve` and `mrunfold send`: reconstruction of scans as they are streamed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mrunfold.inline.client import Answer

__all__ = ["send", "serve"]

GIB = 1 << 30


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")] = 9002,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Protocol of reconstruction that clients may name: one that ships, or a .toml."),
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="Connections at a time.")] = 8,
    memory: Annotated[float, typer.Option(min=0.001, help="GiB of k-space that waits, in all.")] = 8.0,
    memory_each: Annotated[float, typer.Option(min=0.001, help="GiB of it of one connection.")] = 2.0,
    idle: Annotated[float, typer.Option(min=0.1, help="Seconds without a message.")] = 300.0,
    check: Annotated[bool, typer.Option(help="Check each image against samples held out.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Reconstruct scans as scanners stream them: an MRD server.

    Clients of Gadgetron, FIRE and OpenRecon speak MRD, and so does `mrunfold send`.  A slice is sent back as
    soon as its last line is in.  SIGTERM and Ctrl-C finish the image in hand.
    Example: mrunfold serve --port 9002 --protocol inline-samples
    """
    import logging
    import signal
    import sys
    import warnings

    import torch

    from mrunfold.cli.console import note
    from mrunfold.inline import Limits, Server, configurations, is_loopback

    if threads is not None:
        torch.set_num_threads(threads)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.WARNING)
    if not quiet:
        logging.getLogger("mrunfold.inline").setLevel(logging.INFO)
    warnings.simplefilter("ignore")  # of damaged samples: what is wrong with them is a line of the log
    asked = {"check": 3 if check else 0}
    known = configurations(protocol or (), device, asked)
    limits = Limits(connections, int(memory * GIB), int(memory_each * GIB), idle_s=idle)
    with Server(known, host, port, limits) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        if not is_loopback(host):
            warning = "MRD has no authentication and no encryption, and anyone who reaches this port can send"
            note(f"warning: {warning} scans; keep it behind a firewall")
        note(f"listening on {host}:{server.address[1]}: {', '.join(known)}", quiet)
        server.serve()
    note("stopped", quiet)


def send(
    file: Annotated[Path, typer.Argument(help="Raw data: ISMRMRD .h5.")],
    to: Annotated[str, typer.Option(help="The server, as host:port.")] = "localhost:9002",
    config: Annotated[str, typer.Option(help="Name of a configuration of the server's.")] = "default",
    out: Annotated[
        Path | None, typer.Option(help="ISMRMRD file to write, FILE_images.h5 in this folder by default.")
    ] = None,
    line_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds from line to line, as a scanner's TR; 0: no waiting.")
    ] = 0.0,
    measurement: Annotated[str | None, typer.Option(help="Which of several in the file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Stream a scan to an MRD server, and write the images that come back.

    Names, dates and places in the file's header are not sent.
    Example: mrunfold send scan.h5 --to localhost:9002 --config inline-mean
    """
    from mrunfold.cli.console import note
    from mrunfold.errors import InputError
    from mrunfold.inline.client import Source, parse_address, write_images
    from mrunfold.inline.client import send as stream

    address = parse_address(to)
    final = out if out is not None else Path(f"{file.stem}_images.h5")
    if final.exists() and not overwrite:
        raise InputError(f"{final} is there already; add --overwrite, or choose another --out")
    last = [0]
    with Source(file, measurement) as source:
        count = len(source)
        answers = stream(
            source,
            address,
            config,
            line_ms=line_ms,
            took=lambda answer: note(_said(answer), quiet),
            sent=lambda number, at: last.__setitem__(0, number + 1),
        )
    if not any(answer.image is not None for answer in answers):
        said = next((answer.text for answer in answers if answer.text), "it says nothing; see its log")
        raise InputError(f"the server sent no image of {count} acquisitions: {said}")
    if last[0] < count:
        note(f"note: the server closed after {last[0]} of {count} acquisitions; see its log")
    written = write_images(final, answers)
    note(f"{written} images: {final}", quiet)


def _said(answer: Answer) -> str:
    """Return one line on what came back."""
    if answer.image is None:
        return f"the server says: {answer.text}"
    image: Any = answer.image
    meta = image.meta
    frame = f"{meta['Frame']}, " if "Frame" in meta else f"slice {image.slice}, "
    size = "×".join(str(n) for n in image.matrix_size if n > 1)
    return f"{frame}{meta.get('Quantity', 'image')} {size}; check: {meta.get('Verdict', 'none')}"
