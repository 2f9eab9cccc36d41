"""One volume of a batch: a raw file to NAME.h5, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mrunfold.batch.plan import Volume
from mrunfold.export import peak_memory_mb
from mrunfold.io import atomic_path, open_scan, sha256_of
from mrunfold.io.source import Stamp, unchanged
from mrunfold.methods.base import Method
from mrunfold.pipeline import ReconSettings, parse_slices
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.memory import check_memory
from mrunfold.pipeline.report import Done, provenance
from mrunfold.pipeline.slices import Job, draw_mask, target_kind
from mrunfold.pipeline.volume import VolumeWriter, open_writer

__all__ = ["Work", "reconstruct_volume"]

SliceProgress = Callable[[float, int], None]


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

    The file holds `reconstruction` float32 (slice, readout, phase), cropped, as fastMRI's submissions do,
    `std`, `quantile_05` and `quantile_95` where samples were drawn, and where it came from as attributes.
    progress: called with (slices done, slices in all).  Raises InputError for a bad file, OSError where the
    system refuses; what was at `volume.final` stays then.
    """
    clock = Clock()
    with open_scan(volume.path, work.settings.measurement) as scan:
        check_memory(scan, work.settings)
        indices = parse_slices(work.settings.slices, len(scan))
        scan.require(indices)
        kind = target_kind(scan, work.settings, indices[0])
        drawn = draw_mask(scan, work.settings)
        job = Job(scan, work.settings, work.method, kind, drawn, scan.noise(), work.device, clock)
        done = Done(indices)
        with atomic_path(volume.final) as part:
            with open_writer(part, len(indices), scan.header.crop) as writer:
                _all_slices(job, done, writer, progress)
                writer.describe(provenance(job, done, digest))
                writer.describe(
                    {"settings_digest": work.digest, "weights_sha256": work.weights_sha256 or "none"}
                )
                if work.protocol_digest is not None:
                    writer.describe({"protocol_digest": work.protocol_digest})
            unchanged(volume.path, stamp, digest)
            written = sha256_of(part)
    spent = sum(clock.seconds.values())
    on_cuda = work.device.type == "cuda"
    return {
        "output_sha256": written,
        "slices": len(indices),
        "seconds": clock.seconds,
        "seconds_per_slice": spent / len(indices),
        "peak_memory_mb": {
            "process": peak_memory_mb(),
            "cuda": torch.cuda.max_memory_allocated(work.device) / 1e6 if on_cuda else None,
        },
        "threads": torch.get_num_threads(),
        "flags": list(done.flags),
    }


def _all_slices(job: Job, done: Done, writer: VolumeWriter, progress: SliceProgress | None) -> None:
    total = len(done.indices)
    for place, index in enumerate(done.indices):
        if progress is not None:
            progress(place, total)
        images = job.reconstruct(index)
        with job.clock("write"):
            writer.put("reconstruction", place, images.recon)
            for name, values in images.maps():
                writer.put(name, place, values)
        done.add(place, images)
    if progress is not None:
        progress(total, total)
