"""Reconstruct a scan into recon.h5, NIfTI, preview.png and record.json: all of them or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.export import Stack, check_nifti, stacks, together, write_json, write_nifti
from mrunfold.io import open_scan, scan_digest, sha256_of
from mrunfold.io.folder import check_target, result_folder
from mrunfold.io.scan import Header
from mrunfold.io.source import Stamp, unchanged
from mrunfold.methods.registry import get_method
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.loop import plan_slices, write_slices
from mrunfold.pipeline.own import Own
from mrunfold.pipeline.progress import SliceProgress
from mrunfold.pipeline.report import Done, make_preview, run_record
from mrunfold.pipeline.scores import score_volume
from mrunfold.pipeline.settings import ReconSettings
from mrunfold.pipeline.slices import Job, choose_device
from mrunfold.pipeline.split import split_for
from mrunfold.pipeline.volume import read_slices
from mrunfold.review import write_preview

__all__ = ["Summary", "reconstruct"]


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
    own: Own | None = None,
    progress: SliceProgress | None = None,
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
    with open_scan(Path(path), *settings.opening) as opened:
        scan = split_for(opened, settings)
        with clock("hash"):
            digest = scan_digest(scan.path)
        shown = scan.header.images
        places = stacks(shown, settings.images(shown))  # refused before the work
        check_nifti(shown.crop, places)
        job, done = plan_slices(scan, settings, method, device, clock, own)
        with result_folder(final, overwrite) as folder:
            write_slices(folder / "recon.h5", job, done, digest, references=True, progress=progress)
            with clock("export"):
                named = {"reconstruction": "recon", **{name: name for name in done.images.uncertainty}}
                _write_stacks(folder, places, shown, named)
                if "complex" in settings.save:
                    _write_stacks(folder, places, shown, {"image": "recon_complex"}, np.complex64)
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


def _write_stacks(
    folder: Path,
    places: Sequence[Stack],
    header: Header,
    named: Mapping[str, str],
    dtype: type[np.float32] | type[np.complex64] = np.float32,
) -> None:
    """Write NIfTI files of datasets of recon.h5; named: the files' names by those of datasets.

    Frames of the same slices are one file, along its fourth axis.
    """
    groups = together(places)
    for dataset, stem in named.items():
        for number, group in enumerate(groups, start=1):
            name = f"{stem}.nii.gz" if len(groups) == 1 else f"{stem}_{number}.nii.gz"
            images = read_slices(folder / "recon.h5", dataset, [i for one in group for i in one.slices])
            step = None if header.frames is None else header.frames.step_s([one.frame for one in group])
            count = len(group)
            write_nifti(folder / name, images, header.crop, group[0], frames=count, step_s=step, dtype=dtype)


def _scores(job: Job, done: Done, path: Path) -> dict[str, Any] | None:
    """Return the volume's scores where a mask was drawn over slices that are all fully sampled."""
    if job.drawn is None or not done.with_target:
        return None
    places = range(len(done.outputs))
    target = partial(read_slices, path, "target", places)
    return score_volume(target, partial(read_slices, path, "reconstruction", places))
