"""One image of a stream: from its acquisitions to what is sent, by the code that reconstructs files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.inline.arrivals import Pile
from mrunfold.inline.configurations import Configuration
from mrunfold.io.mrd_lines import KEY
from mrunfold.io.readouts import ReadoutScan
from mrunfold.io.recognise import as_slices
from mrunfold.io.scan import Header, Scan
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.loop import write_slices
from mrunfold.pipeline.memory import check_memory
from mrunfold.pipeline.report import Done
from mrunfold.pipeline.settings import slices_for
from mrunfold.pipeline.slices import Job, draw_mask, target_kind
from mrunfold.pipeline.split import split_for
from mrunfold.pipeline.volume import read_slices

__all__ = ["Reconstructed", "reconstruct_pile"]


@dataclass(frozen=True)
class Reconstructed:
    """Images of one slice or volume, and what is known of them.

    image, std: float32 (partition, readout, phase) in the scan's own scale, std None where there is none;
    header: of the scan's images, index: the first of them that this is; check: what held-out samples say
    (`Done`); method, flags, uncertainty: as record.json has them; seconds: by stage.
    """

    image: np.ndarray
    std: np.ndarray | None
    header: Header
    index: int
    check: Mapping[str, Any]
    method: Mapping[str, Any]
    flags: tuple[str, ...]
    seconds: Mapping[str, float]
    uncertainty: str | None = None


@torch.no_grad()
def reconstruct_pile(path: Path, xml: bytes, pile: Pile, configuration: Configuration) -> Reconstructed:
    """Return the images of `pile`, as `recon` of a file with the whole scan makes them of this part of it.

    path: what messages call the scan; xml: its header.  Raises InputError for what `recon` refuses.
    """
    volume = _number_of_this(pile)
    readouts = ReadoutScan(path, pile.readouts, xml, volume)
    with as_slices(readouts) as opened:
        scan = split_for(opened, configuration.settings)
        index = next(i for i, label in enumerate(readouts.labels) if _same(label, pile.label))
        job = _job(scan, configuration, index)
        if readouts.volume is not None:
            return _volume(job, index, readouts.volume.volumes)
        scan.require([index])
        images = job.reconstruct(index)
        done = Done([index], [index])
        done.note(images.flags, images.record, with_target=False)
        std = images.uncertainty.get("std")
        return _reconstructed(job, done, images.recon[None], None if std is None else std[None])


def _number_of_this(pile: Pile) -> Any:
    """Return what gives the number of an image: the pile's, for no other is asked for."""
    return lambda label: pile.number


def _same(label: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return all(label[name] == other[name] for name in KEY)


def _job(scan: Scan, configuration: Configuration, index: int) -> Job:
    settings = configuration.settings
    check_memory(scan, settings)
    kind = target_kind(scan, settings, index)
    drawn = draw_mask(scan, settings)
    return Job(scan, settings, configuration.method, kind, drawn, scan.noise(), configuration.device, Clock())


def _volume(job: Job, volume: int, volumes: int) -> Reconstructed:
    """Reconstruct one volume of a 3-D scan, all its images together."""
    shown = job.scan.header.images
    each = shown.slices // volumes
    outputs = list(range(volume * each, (volume + 1) * each))
    done = Done(slices_for(job.scan.header, outputs), outputs)
    job.scan.require(done.indices)
    with tempfile.TemporaryDirectory(prefix="mrunfold-serve-") as name:
        path = Path(name) / "recon.h5"
        write_slices(path, job, done, digest="")
        image = np.stack(list(read_slices(path, "reconstruction", range(each))))
        drawn = "std" in done.images.uncertainty
        std = np.stack(list(read_slices(path, "std", range(each)))) if drawn else None
    return _reconstructed(job, done, image, std)


def _reconstructed(job: Job, done: Done, image: np.ndarray, std: np.ndarray | None) -> Reconstructed:
    return Reconstructed(
        image,
        std,
        job.scan.header.images,
        done.outputs[0],
        done.check,
        done.slices[0]["method"],
        tuple(done.flags),
        dict(job.clock.seconds),
        done.slices[0]["uncertainty"],
    )
