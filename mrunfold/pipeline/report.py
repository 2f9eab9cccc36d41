"""The record of a run: attributes of recon.h5, record.json and preview.png."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mrunfold.export import header_facts, peak_memory_mb, platform_facts, radiological_view, versions
from mrunfold.io.frames import frame_words
from mrunfold.io.scan import Header
from mrunfold.methods.held_out import summarised
from mrunfold.metrics import psnr, ssim
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.scores import RULE
from mrunfold.pipeline.slices import Job, SliceImages
from mrunfold.review import STD_PANEL, Preview

__all__ = ["Done", "make_preview", "provenance", "run_record"]

PURPOSE = "research, not for diagnosis"


@dataclass
class Done:
    """What is kept of the slices that are done: facts of each, images of the middle one only.

    indices: slices of the scan, in the order of the volume; outputs: images of the volume, the same unless
    slices are positions of a 3-D scan's readout; flags: an ordered set; middle: the images that the preview
    shows.
    """

    indices: list[int]
    outputs: list[int]
    middle: SliceImages | None = None
    flags: dict[str, None] = field(default_factory=dict)
    slices: list[dict[str, Any]] = field(default_factory=list)
    with_target: bool = True

    @property
    def shown(self) -> int:
        """Place in the volume of the slice that the preview shows."""
        return len(self.outputs) // 2

    @property
    def check(self) -> dict[str, Any]:
        """The check of each slice that was checked, and their worst verdict."""
        return summarised({one["index"]: one["check"] for one in self.slices if "check" in one})

    @property
    def images(self) -> SliceImages:
        """Images of that slice."""
        assert self.middle is not None, "the middle slice is not done yet"
        return self.middle

    def add(self, place: int, images: SliceImages) -> None:
        """Take note of the slice at `place` of the volume."""
        self.note(images.flags, images.record, images.target is not None)
        if place == self.shown:
            self.middle = images

    def note(self, flags: tuple[str, ...], record: dict[str, Any], with_target: bool) -> None:
        """Take note of what is known of one more slice."""
        self.flags.update(dict.fromkeys(flags))
        self.slices.append(record)
        self.with_target &= with_target

    def sort(self) -> None:
        """Sort the facts of slices into the order of the volume; slices may finish in another order."""
        order = {index: number for number, index in enumerate(self.indices)}
        self.slices.sort(key=lambda one: order[one["index"]])


def _mask_facts(job: Job, done: Done) -> dict[str, Any]:
    delivered = [one["mask_delivered"] for one in done.slices]
    mask = done.images.mask
    return {
        "kind": mask.kind,
        "asked": mask.asked,
        "delivered": [min(delivered), max(delivered)],
        "drawn": None if job.drawn is None else job.drawn.delivered,
        "calibration": mask.calibration,
        "shape": mask.shape,
        "seed": "of the file's name" if isinstance(mask.seed, tuple) else mask.seed,
    }


def provenance(job: Job, done: Done, digest: str) -> dict[str, Any]:
    """Return the attributes of recon.h5, for users who have only that file; digest: sha256 of the input."""
    return {
        "mrunfold_version": versions(["mrunfold"])["mrunfold"] or "unknown",
        "input_sha256": digest,
        "input_format": job.scan.header.format,
        "header": header_facts(job.scan.header.images, done.outputs),
        "method": job.method.name,
        "weights_sha256": done.slices[0]["method"].get("weights_sha256") or "none",
        "settings": job.settings.record(),
        "slices": done.outputs,
        "mask": _mask_facts(job, done),
        "target_kind": job.kind,
        "units": "magnitude in the input file's own scale",
        "noise_floor": _floors(done),
        "uncertainty": _uncertainty(done),
        "simulated": job.scan.header.simulated,
        "flags": list(done.flags),
        "check": done.check,
        "purpose": PURPOSE,
    }


def _floors(done: Done) -> list[float] | None:
    """Return each slice's value where there is no signal, None if no noise was added."""
    found = [one["noise_floor"] for one in done.slices]
    return None if None in found else [floor["level"] for floor in found]


def _uncertainty(done: Done) -> str | None:
    """Return in words how the maps of uncertainty were made, None without maps."""
    found = dict.fromkeys(one.get("uncertainty") for one in done.slices)
    return next((text for text in found if text is not None), None)


def run_record(job: Job, done: Done, digest: str, scores: dict[str, Any] | None) -> dict[str, Any]:
    """Return what record.json holds; no path, host or person is in it."""
    header = job.scan.header.images
    on_cuda = job.device.type == "cuda"
    return {
        "purpose": PURPOSE,
        "simulated": header.simulated,
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "input": {
            "name": job.scan.path.name,
            "sha256": digest,
            "format": header.format,
            "slices": header.places,
            "frames": None if header.frames is None else [dict(label) for label in header.frames.labels],
            "coils": header.coils,
            "matrix": header.matrix,
            "crop": header.crop,
            "geometry": "unknown" if header.geometry is None else "known",
        },
        "settings": job.settings.record(),
        "target_kind": job.kind,
        "mask": _mask_facts(job, done),
        "given": job.own.record,
        "metrics": scores,
        "check": done.check,
        "uncertainty": _uncertainty(done),
        "flags": list(done.flags),
        "seconds": job.clock.seconds,
        "seconds_per_slice": _seconds_per_slice(job.clock, len(done.indices)),
        "peak_memory_mb": {
            "process": peak_memory_mb(),
            "cuda": torch.cuda.max_memory_allocated(job.device) / 1e6 if on_cuda else None,
        },
        "device": str(job.device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "platform": platform_facts(),
        "slices": done.slices,
    }


def _seconds_per_slice(clock: Clock, count: int) -> float:
    """Reading, problem, method and writing together."""
    return sum(clock.seconds.get(stage, 0.0) for stage in ("read", "problem", "method", "write")) / count


def make_preview(job: Job, done: Done, scores: dict[str, Any] | None) -> Preview:
    """Return the preview of the middle slice; `scores` of the volume, None without a reference."""
    images, header = done.images, job.scan.header.images
    given = ", ".join(f"{key}={value}" for key, value in job.settings.record()["parameters"].items())
    parameters = f" ({given})" if given else ""
    heading = (
        f"{job.scan.path.name} · {_place(header, done.outputs[done.shown])} · "
        f"{job.method.name}{parameters} · {PURPOSE}"
    )
    captions, labels = [str(images.mask), f"magnitude: {job.kind}"], []
    if scores is not None and scores["psnr"] is not None and images.target is not None:
        captions[1] += (
            f" · all {len(done.outputs)} slices: PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f} "
            f"against {job.kind} of the full data ({RULE})"
        )
        for name, image in (("zero-filled", images.zero_filled), ("reconstruction", images.recon)):
            labels.append((name, _label(images.target, image, scores["data_range"])))
    origin = _uncertainty(done)
    if origin is not None:
        labels.append((STD_PANEL, origin))
    if header.geometry is None:
        captions.append("orientation unknown: as stored, readout downwards, phase encoding to the right")
    assert images.zero_filled is not None
    return Preview(
        mask=images.mask.array,
        zero_filled=images.zero_filled,
        recon=images.recon,
        heading=heading,
        reference=None if scores is None else images.target,
        uncertainty=images.uncertainty,
        view=radiological_view(header.geometry and header.geometry.take([done.outputs[done.shown]])),
        pixel_mm=header.pixel_mm,
        captions=tuple(captions),
        labels=tuple(labels),
        warnings=tuple(done.flags),
    )


def _place(header: Header, index: int) -> str:
    """Return which slice an image is, and of which frame."""
    if header.frames is None:
        return f"slice {index} of {header.slices}, from 0"
    label = frame_words(header.frames.labels[header.frames.frame[index]])
    return f"{label} · slice {header.frames.place[index]} of {header.places}, from 0"


def _label(target: np.ndarray, image: np.ndarray | None, data_range: float) -> str:
    assert image is not None
    decibels = psnr(target[None], image[None], data_range=data_range)
    return f"PSNR {decibels:.2f} dB, SSIM {ssim(target[None], image[None], data_range=data_range):.4f}"
