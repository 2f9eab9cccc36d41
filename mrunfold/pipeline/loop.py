"""The loop over the slices of a scan, for all commands: it writes recon.h5 and its attributes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mrunfold.io.scan import Scan
from mrunfold.methods.base import Method
from mrunfold.pipeline.ahead import in_flight
from mrunfold.pipeline.assemble import write_positions
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.datasets import datasets
from mrunfold.pipeline.memory import check_memory
from mrunfold.pipeline.own import Own, resolve
from mrunfold.pipeline.progress import SliceProgress, begun
from mrunfold.pipeline.report import Done, provenance
from mrunfold.pipeline.settings import ReconSettings, slices_for
from mrunfold.pipeline.slices import Job, draw_mask, target_kind
from mrunfold.pipeline.together import by_place
from mrunfold.pipeline.volume import VolumeWriter, open_writer

__all__ = ["plan_slices", "write_slices"]


def plan_slices(
    scan: Scan,
    settings: ReconSettings,
    method: Method,
    device: torch.device,
    clock: Clock,
    own: Own | None = None,
) -> tuple[Job, Done]:
    """Return the job (what all slices share) and the empty list of finished slices.

    Raises InputError for slices, masks and targets that the scan does not have.
    """
    check_memory(scan, settings)
    outputs = settings.images(scan.header.images)
    indices = slices_for(scan.header, outputs)
    scan.require(indices)
    kind = target_kind(scan, settings, indices[0])
    parts = resolve(own or Own(), scan.header)
    drawn = draw_mask(scan, settings, parts)
    job = Job(scan, settings, method, kind, drawn, scan.noise(), device, clock, parts)
    return job, Done(indices, outputs)


def write_slices(
    path: Path,
    job: Job,
    done: Done,
    digest: str,
    *,
    references: bool = False,
    about: Mapping[str, Any] | None = None,
    progress: SliceProgress | None = None,
    work: Path | None = None,
) -> None:
    """Reconstruct the slices of `done.indices` into the file `path`, a few in memory at a time.

    The file holds `reconstruction` float32 (slice, readout, phase), cropped, as fastMRI's submissions do,
    `std`, `quantile_05` and `quantile_95` where samples were drawn, and where it came from as attributes.
    digest: sha256 of the raw file; references: write target, zero-filled and complex images and the
    mask too; about: further attributes; progress: called with (slices done, slices in all).  Of a 3-D scan
    that is split along its readout, slices are its positions; work: folder that keeps those that are done, so
    that a later call with the same folder goes on; None: beside `path`, gone with an error.
    """
    shown = job.scan.header.images
    with open_writer(path, len(done.outputs), shown.crop) as writer:
        if job.scan.header.output is None:
            _write_each(writer, job, done, references, progress)
        else:
            with contextlib.ExitStack() as stack:
                if work is None:
                    work = path.with_name(f".{path.name}.positions")
                    stack.callback(shutil.rmtree, work, ignore_errors=True)
                write_positions(writer, job, done, work, references, progress)
        writer.describe({**provenance(job, done, digest), **(about or {})})


def _write_each(
    writer: VolumeWriter, job: Job, done: Done, references: bool, progress: SliceProgress | None
) -> None:
    total = len(done.indices)

    def inside(number: int) -> Callable[[float], None] | None:
        return None if progress is None else begun(progress, number, total)

    # Of a 3-D scan one volume after another; else all frames of a place before the next.
    order = range(total) if job.scan.hybrid is not None else by_place(job.scan.header, done.indices)
    with in_flight(job, [done.indices[place] for place in order], references, inside) as slices:
        for place, images in zip(order, slices, strict=True):
            with job.clock("write"):
                found, others = datasets(images, job, references)
                for name, image in found.items():
                    writer.put(name, place, image)
                for name, array in others.items():
                    writer.put_array(name, place, array)
            done.add(place, images)
    done.sort()
    if progress is not None:
        progress(total, total)
