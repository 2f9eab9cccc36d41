"""A scan and settings → recon.h5, NIfTI, preview.png and record.json, all of them or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mrunfold.export import ZERO_FILLED, Stack, check_nifti, stacks, write_json, write_nifti
from mrunfold.io import open_scan, scan_digest, sha256_of
from mrunfold.io.source import Stamp, unchanged
from mrunfold.methods.registry import get_method
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.folder import check_target, result_folder
from mrunfold.pipeline.memory import check_memory
from mrunfold.pipeline.report import Done, make_preview, provenance, run_record
from mrunfold.pipeline.scores import score_volume
from mrunfold.pipeline.settings import ReconSettings, parse_slices
from mrunfold.pipeline.slices import Job, choose_device, draw_mask, target_kind
from mrunfold.pipeline.volume import VolumeWriter, open_writer, read_slices
from mrunfold.review import write_preview

__all__ = ["Summary", "reconstruct"]

Progress = Callable[[float, int], None]


@dataclass(frozen=True)
class Summary:
    """What a run wrote: the folder, its files by name, and the run record that is in record.json."""

    folder: Path
    files: tuple[str, ...]
    record: dict[str, Any]


def reconstruct(
    path: Path | str,
    out: Path | str,
    settings: ReconSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    also: Callable[[Path], None] | None = None,
) -> Summary:
    """Reconstruct the scan at `path` into the folder `out`, which appears when everything in it is written.

    settings: `ReconSettings()` where None; progress: called with (slices done, slices in all); also: called
    with the unfinished folder when all else is in it, to write more (DICOM).  Memory does not grow with the
    number of slices.  Raises InputError for bad input or settings and OSError where the system refuses;
    nothing is written then.
    """
    settings = ReconSettings() if settings is None else settings
    final = Path(out).absolute()
    method = get_method(settings.method, **settings.parameters)
    check_target(final, overwrite)
    device = choose_device(settings.device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    clock = Clock()
    with contextlib.suppress(OSError):  # what is not there, open_scan says better
        stamp = Stamp.of(Path(path))
    with open_scan(Path(path), settings.measurement) as scan:
        with clock("hash"):
            digest = scan_digest(scan.path)
        check_memory(scan, settings)
        indices = parse_slices(settings.slices, len(scan))
        scan.require(indices)
        places = stacks(scan.header, indices)  # a geometry that cannot be written is known before the work
        check_nifti(scan.header.crop, places)
        kind = target_kind(scan, settings, indices[0])
        drawn = draw_mask(scan, settings)
        job = Job(scan, settings, method, kind, drawn, scan.noise(), device, clock)
        with result_folder(final, overwrite) as folder:
            done = Done(indices)
            with open_writer(folder / "recon.h5", len(indices), scan.header.crop) as writer:
                _all_slices(job, done, writer, progress)
                writer.describe(provenance(job, done, digest))
            with clock("export"):
                _write_stacks(folder, places, scan.header.crop, tuple(done.images.uncertainty))
                scores = _scores(job, done, folder / "recon.h5")
                write_preview(folder / "preview.png", make_preview(job, done, scores))
            with clock("hash"):
                unchanged(scan.path, stamp, digest)
            record = run_record(job, done, digest, scores)
            record["recon_sha256"] = sha256_of(folder / "recon.h5")  # HDF5 itself does not notice a change
            write_json(folder / "record.json", record)
            if also is not None:
                also(folder)
            files = tuple(sorted(p.name for p in folder.iterdir()))
    return Summary(final, files, record)


def _all_slices(job: Job, done: Done, writer: VolumeWriter, progress: Progress | None) -> None:
    total = len(done.indices)
    for place, index in enumerate(done.indices):
        within = None if progress is None else partial(_within, progress, place, total)
        images = job.reconstruct(index, zero_filled=True, progress=within)
        with job.clock("write"):
            writer.put("reconstruction", place, images.recon)
            if images.target is not None:
                writer.put("target", place, images.target)
            if images.zero_filled is not None and job.settings.method != ZERO_FILLED:
                # What a method began with, for readers to compare with, without a second run.
                writer.put(ZERO_FILLED, place, images.zero_filled)
            for name, values in images.maps():
                writer.put(name, place, values)
        done.add(place, images)
        if progress is not None:
            progress(place + 1, total)


def _within(progress: Progress, place: int, total: int, fraction: float) -> None:
    # A slice counts as done when it is written, not before.
    progress(place + min(fraction, 0.999), total)


def _write_stacks(
    folder: Path, places: Sequence[Stack], shape: tuple[int, int], uncertainty: Sequence[str]
) -> None:
    for dataset, stem in (("reconstruction", "recon"), *((name, name) for name in uncertainty)):
        for number, stack in enumerate(places, start=1):
            name = f"{stem}.nii.gz" if len(places) == 1 else f"{stem}_{number}.nii.gz"
            images = read_slices(folder / "recon.h5", dataset, stack.slices)
            write_nifti(folder / name, images, shape, stack)


def _scores(job: Job, done: Done, path: Path) -> dict[str, Any] | None:
    """Return the volume's scores where a mask was drawn over slices that are all fully sampled."""
    if job.drawn is None or not done.with_target:
        return None
    places = range(len(done.indices))
    target = partial(read_slices, path, "target", places)
    return score_volume(target, partial(read_slices, path, "reconstruction", places))
