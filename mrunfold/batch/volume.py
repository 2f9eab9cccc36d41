"""One volume of a batch: a raw file to NAME.h5, whole or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mrunfold.batch.plan import Volume
from mrunfold.errors import InputError
from mrunfold.export import peak_memory_mb
from mrunfold.io import atomic_path, open_scan, sha256_of
from mrunfold.io.source import Stamp, unchanged
from mrunfold.methods.base import Method
from mrunfold.pipeline import ReconSettings
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.loop import plan_slices, write_slices
from mrunfold.pipeline.progress import SliceProgress
from mrunfold.pipeline.split import split_for

__all__ = ["Work", "reconstruct_volume"]


@dataclass(frozen=True)
class Work:
    """What volumes share; weights_sha256: None for a method without; digest: of the settings;
    protocol_digest: None without a protocol."""

    settings: ReconSettings
    method: Method
    device: torch.device
    weights_sha256: str | None
    digest: str
    protocol_digest: str | None = None


def reconstruct_volume(
    volume: Volume, digest: str, stamp: Stamp, work: Work, progress: SliceProgress | None = None
) -> dict[str, Any]:
    """Write the volume's file and return what the manifest says of it.

    digest, stamp: of the raw file, the stamp taken first; InputError where it is no longer that at the end.

    The file is as `pipeline.loop.write_slices` leaves it.
    progress: called with (slices done, slices in all).  Raises InputError for a bad file, OSError where the
    system refuses; what was at `volume.final` stays then.
    """
    clock = Clock()
    with open_scan(volume.path, *work.settings.opening) as opened:
        scan = split_for(opened, work.settings)
        job, done = plan_slices(scan, work.settings, work.method, work.device, clock)
        about = {"settings_digest": work.digest, "weights_sha256": work.weights_sha256 or "none"}
        if work.protocol_digest is not None:
            about["protocol_digest"] = work.protocol_digest
        positions = _positions(volume, digest, work)
        with _unless_refused(positions), atomic_path(volume.final) as part:
            write_slices(part, job, done, digest, about=about, progress=progress, work=positions)
            unchanged(volume.path, stamp, digest)
            written = sha256_of(part)
        shutil.rmtree(positions, ignore_errors=True)
    spent = sum(clock.seconds.values())
    on_cuda = work.device.type == "cuda"
    return {
        "output_sha256": written,
        "slices": len(done.indices),
        "seconds": clock.seconds,
        "seconds_per_slice": spent / len(done.indices),
        "peak_memory_mb": {
            "process": peak_memory_mb(),
            "cuda": torch.cuda.max_memory_allocated(work.device) / 1e6 if on_cuda else None,
        },
        "threads": torch.get_num_threads(),
        "flags": list(done.flags),
    }


def _positions(volume: Volume, digest: str, work: Work) -> Path:
    """Return the folder of what is done of a 3-D scan, of this content under these settings; others go."""
    key = hashlib.sha256(f"{digest} {work.digest}".encode()).hexdigest()[:16]
    mine = volume.final.with_name(f".{volume.name}.{key}.positions")
    name = re.compile(re.escape(f".{volume.name}.") + r"[0-9a-f]{16}\.positions")
    for other in volume.final.parent.iterdir():
        if name.fullmatch(other.name) and other != mine:
            shutil.rmtree(other, ignore_errors=True)
    return mine


@contextmanager
def _unless_refused(positions: Path) -> Iterator[None]:
    """Remove what is done of a 3-D scan that cannot be reconstructed; an interruption leaves it."""
    try:
        yield
    except InputError:
        shutil.rmtree(positions, ignore_errors=True)
        raise
