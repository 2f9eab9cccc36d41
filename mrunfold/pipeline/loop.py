"""One loop over the slices of a scan, whoever asked for it: into a recon.h5 with what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mrunfold.export import ZERO_FILLED, sample_name
from mrunfold.io.scan import Scan
from mrunfold.methods.base import Method
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.memory import check_memory
from mrunfold.pipeline.own import Own, resolve
from mrunfold.pipeline.report import Done, provenance
from mrunfold.pipeline.settings import ReconSettings
from mrunfold.pipeline.slices import Job, SliceImages, draw_mask, target_kind
from mrunfold.pipeline.together import by_place
from mrunfold.pipeline.volume import VolumeWriter, open_writer

__all__ = ["SliceProgress", "plan_slices", "write_slices"]

SliceProgress = Callable[[float, int], None]


def plan_slices(
    scan: Scan,
    settings: ReconSettings,
    method: Method,
    device: torch.device,
    clock: Clock,
    own: Own | None = None,
) -> tuple[Job, Done]:
    """Return what is the same for all slices that `settings` asks for, and the empty account of them.

    Raises InputError for slices, masks and targets that the scan does not have.
    """
    check_memory(scan, settings)
    indices = settings.images(scan.header)
    scan.require(indices)
    kind = target_kind(scan, settings, indices[0])
    parts = resolve(own or Own(), scan.header)
    drawn = draw_mask(scan, settings, parts)
    return Job(scan, settings, method, kind, drawn, scan.noise(), device, clock, parts), Done(indices)


def write_slices(
    path: Path,
    job: Job,
    done: Done,
    digest: str,
    *,
    references: bool = False,
    about: Mapping[str, Any] | None = None,
    progress: SliceProgress | None = None,
) -> None:
    """Reconstruct the slices of `done.indices` into the file `path`, one in memory at a time.

    The file holds `reconstruction` float32 (slice, readout, phase), cropped, as fastMRI's submissions do,
    `std`, `quantile_05` and `quantile_95` where samples were drawn, and where it came from as attributes.
    digest: sha256 of the raw file; references: write target, zero-filled and complex images and the
    mask too; about: further attributes; progress: called with (slices done, slices in all).
    """
    total = len(done.indices)
    with open_writer(path, total, job.scan.header.crop) as writer:
        for number, place in enumerate(by_place(job.scan.header, done.indices)):
            index = done.indices[place]
            within = None if progress is None else partial(_within, progress, number, total)
            if within is not None:
                within(0.0)
            images = job.reconstruct(index, zero_filled=references, progress=within)
            with job.clock("write"):
                writer.put("reconstruction", place, images.recon)
                if references and images.target is not None:
                    writer.put("target", place, images.target)
                if images.zero_filled is not None and job.method.name != ZERO_FILLED:
                    # What a method began with, for readers to compare with, without a second run.
                    writer.put(ZERO_FILLED, place, images.zero_filled)
                for name, values in images.maps():
                    writer.put(name, place, values)
                if references:
                    _put_complex(writer, place, images, job.settings)
            done.add(place, images)
        done.sort()
        if progress is not None:
            progress(total, total)
        writer.describe({**provenance(job, done, digest), **(about or {})})


def _put_complex(writer: VolumeWriter, place: int, images: SliceImages, settings: ReconSettings) -> None:
    """Write what there is besides magnitudes: the complex image and its samples, mask, coil maps."""
    writer.put_array("image", place, images.image)
    writer.put_array("mask", place, images.mask.array)
    if "complex" in settings.save and images.complex_samples is not None:
        for number, one in enumerate(images.complex_samples):
            writer.put_array(f"complex_{sample_name(number)}", place, one)
    if images.coil_maps is not None:
        writer.put_array("maps", place, images.coil_maps)


def _within(progress: SliceProgress, place: int, total: int, fraction: float) -> None:
    # A slice counts as done when it is written, not before.
    progress(place + min(fraction, 0.999), total)
