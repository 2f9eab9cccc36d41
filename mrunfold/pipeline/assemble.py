"""The loop over a 3-D scan that is split along its readout: positions first, then the images they make up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrunfold.export import ZERO_FILLED
from mrunfold.io.scan import Header
from mrunfold.masks import acquired
from mrunfold.pipeline.ahead import in_flight
from mrunfold.pipeline.datasets import SPREAD, datasets
from mrunfold.pipeline.positions import Positions, Said
from mrunfold.pipeline.progress import SliceProgress, begun
from mrunfold.pipeline.report import Done
from mrunfold.pipeline.slices import Job, SliceImages
from mrunfold.pipeline.volume import VolumeWriter

__all__ = ["write_positions"]

MASK = "mask"
AT_ONCE = 128 << 20  # bytes of images in memory while they are put together


def write_positions(
    writer: VolumeWriter,
    job: Job,
    done: Done,
    folder: Path,
    references: bool,
    progress: SliceProgress | None,
) -> None:
    """Reconstruct the positions of `done.indices`, a few in memory at a time, and write the images of all.

    folder: where positions are kept until then: those of an earlier run are not reconstructed again.
    """
    positions = Positions(folder)
    total = len(done.indices)
    known = {index: positions.said(index) for index in done.indices}
    left = [place for place, index in enumerate(done.indices) if known[index] is None]

    def inside(number: int) -> Callable[[float], None] | None:
        return None if progress is None else begun(progress, left[number], total)

    with in_flight(job, [done.indices[place] for place in left], references, inside) as slices:
        for place, images in zip(left, slices, strict=True):
            arrays = _arrays(images, job, references)
            with job.clock("write"):
                said = Said(images.record, images.flags, images.target is not None)
                positions.save(done.indices[place], arrays, said)
            known[done.indices[place]] = said
    for one in known.values():
        assert one is not None
        done.note(one.flags, one.record, one.with_target)
    with job.clock("write"):
        _assemble(writer, positions, job, done, references)
    if progress is not None:
        progress(total, total)


def _arrays(images: SliceImages, job: Job, references: bool) -> dict[str, np.ndarray]:
    """Return what is kept of a position by name: what is written of it, and its mask."""
    arrays, others = datasets(images, job, references)
    others[MASK] = images.mask.array
    if "maps" in others:  # as the images: partitions outside of the final image are left out
        kept, count = job.scan.header.crop[1], job.scan.header.matrix[1]
        start = count // 2 - kept // 2
        others["maps"] = others["maps"][..., start : start + kept]
    return {**arrays, **others}


def _assemble(writer: VolumeWriter, positions: Positions, job: Job, done: Done, references: bool) -> None:
    """Write the images of `done.outputs`, each of one partition, from those of the positions."""
    header = job.scan.header
    shown: dict[str, np.ndarray] = {}
    for name in positions.names(done.indices[0]):
        if name == MASK:
            continue
        for places, along, partitions in _groups(positions, header, done, name):
            images = positions.across(along, name, partitions)
            for place, image in zip(places, images, strict=True):
                writer.put_array(name, place, image)
                if place == done.shown:
                    shown[name] = image.copy()
    masks = _masks(positions, header, done)
    if references:
        writer.whole(MASK, masks)
    done.middle = _middle(job, shown, masks[0], positions.said(done.indices[0]))


def _groups(
    positions: Positions, header: Header, done: Done, name: str
) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Yield (places in the file, positions, partitions) of images that are put together at a time."""
    each, along = header.crop[1], header.images.crop[0]
    one = positions.load(done.indices[0], name)
    few = max(1, AT_ONCE // max(1, one.nbytes // one.shape[-1] * along))
    by_volume: dict[int, list[int]] = {}
    for place, output in enumerate(done.outputs):
        by_volume.setdefault(output // each, []).append(place)
    for volume, places in by_volume.items():
        indices = list(range(volume * along, (volume + 1) * along))
        for start in range(0, len(places), few):
            some = places[start : start + few]
            yield some, indices, [done.outputs[place] % each for place in some]


def _masks(positions: Positions, header: Header, done: Done) -> np.ndarray:
    """Return what was kept, bool (volume, phase, partition): all positions of a volume have the same."""
    along = header.images.crop[0]
    volumes = dict.fromkeys(index // along for index in done.indices)
    return np.stack([positions.load(volume * along, MASK) for volume in volumes])


def _middle(job: Job, shown: dict[str, np.ndarray], mask: np.ndarray, said: Said | None) -> SliceImages:
    """Return the images of the partition that the preview shows."""
    assert said is not None
    recon = shown["reconstruction"]
    return SliceImages(
        recon=recon,
        target=shown.get("target"),
        zero_filled=recon if job.method.name == ZERO_FILLED else shown.get(ZERO_FILLED),
        uncertainty={name: shown[name] for name in SPREAD if name in shown},
        mask=acquired(mask) if job.drawn is None else replace(job.drawn, array=mask),
        flags=said.flags,
        record=said.record,
        image=shown.get("image", recon),
    )
