"""A reconstruction as DICOM series: MR or Secondary Capture images, and the uncertainty as a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.export.dicom_classes import LEVELS, Scale, common, file_dataset, mr_image, secondary
from mrunfold.export.dicom_enhanced import enhanced_image
from mrunfold.export.dicom_frames import say_frame
from mrunfold.export.dicom_map import parametric_map
from mrunfold.export.dicom_reference import Exam
from mrunfold.export.dicom_uids import content_uid, digest_of
from mrunfold.export.geometry import Stack, View, turned
from mrunfold.export.result import STD_TITLE, ZERO_FILLED, Reconstruction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["EXTRAS", "chosen", "write_dicom"]

Progress = Callable[[float, int], None]
# Series numbers, titles and ImageType's fourth value; samples are 101, 102, …; every further stack adds 1000.
# Titles are short: what is added to them must fit into 64 characters.
SERIES = {
    "reconstruction": (1, "Reconstruction", "RECONSTRUCTION"),
    "std": (2, STD_TITLE, "STD_DEVIATION"),
    "quantile_05": (3, "5 % quantile", "QUANTILE_05"),
    "quantile_95": (4, "95 % quantile", "QUANTILE_95"),
    "target": (5, "Reference", "REFERENCE"),
}
MAP_NUMBER = 6
ENHANCED, ENHANCED_SAMPLES = 10, 500  # added to the numbers of series and of samples
FORMAT = 2
ALWAYS = ("reconstruction", "std")
EXTRAS = ("quantiles", "target", "samples")
# What lies above is drawn white: 0.5 % of the pixels that are not zero.
WINDOW_QUANTILE = 0.995


@dataclass(frozen=True)
class _Series:
    """A series to write: dataset, number, kind, title, scale, and the stack that it shows, of each frame."""

    name: str
    number: int
    kind: str
    title: str
    stacks: tuple[Stack, ...]
    scale: Scale
    view: View
    uid: str

    @property
    def placed(self) -> bool:
        """Whether it is known where the images lie."""
        return self.stacks[0].lps is not None

    @property
    def slices(self) -> list[int]:
        """Places in the volume of all images, frame after frame."""
        return [place for stack in self.stacks for place in stack.slices]


def chosen(result: Reconstruction, extras: Sequence[str] = ()) -> list[str]:
    """Return the datasets to export: reconstruction and std, and what `extras` of EXTRAS ask for.

    Raises InputError where the result does not hold them.
    """
    names = [name for name in ALWAYS if name in result.names]
    for extra in dict.fromkeys(extras):
        if extra not in EXTRAS:
            raise InputError(f"there is no extra {extra!r}; choose from {', '.join(EXTRAS)}")
        wanted = {"quantiles": ("quantile_05", "quantile_95"), "target": ("target",)}
        found = result.samples if extra == "samples" else wanted[extra]
        found = tuple(name for name in found if name in result.names)
        if not found:
            raise InputError(f"{result.path} holds no {extra}; {_way_out(extra)}")
        names += found
    return names


def _way_out(extra: str) -> str:
    return {
        "quantiles": "reconstruct with `samples=8`",
        "target": "only a mask drawn over full data leaves a reference",
        "samples": "reconstruct with `samples=8` and `keep_samples=True`",
    }[extra]


def write_dicom(
    result: Reconstruction,
    folder: Path,
    exam: Exam,
    *,
    extras: Sequence[str] = (),
    maps: bool = True,
    enhanced: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Write the series into folders of `folder`, which must exist, and return what each of them is.

    Images are turned as radiologists expect them, and stored in 12 bits under one factor for all that is to
    be compared (reconstruction, reference, quantiles, samples) and one for the standard deviation.  maps: the
    standard deviation as a Parametric Map too, enhanced: each series as one Enhanced MR object too, both
    where places are known.  Raises InputError where the result is damaged or lacks what `extras` ask for.
    """
    names = chosen(result, extras)
    scales = {name: _scale(result, group) for group in _groups(result) for name in group}
    series = []
    groups = _shown(result)
    for index, group in enumerate(groups):
        for name in names:
            number, title, kind = _number(name)
            number += 1000 * index + exam.above
            if len(groups) > 1:
                title += f", stack {index + 1} of {len(groups)}"
            uid = _series_uid(result, exam, name, number, group, scales[name])
            series.append(_Series(name, number, kind, title, group, scales[name], group[0].view, uid))
    total = sum(len(one.slices) for one in series)
    facts, done = [], 0
    for one in series:
        shown = None if progress is None else partial(_after, progress, done, total)
        facts.append(_write_series(result, folder, exam, one, shown))
        done += len(one.slices)
        if enhanced and one.placed:
            facts.append(_write_enhanced(result, folder, exam, one))
        if maps and one.name == "std" and one.placed:
            facts.append(_write_map(result, folder, exam, one))
    return facts


def _shown(result: Reconstruction) -> list[tuple[Stack, ...]]:
    """Return the stacks of each series: frames of the same slices, if DICOM can say which is which.

    Secondary Captures have neither echo nor time, so that each frame is a series of its own.
    """
    if result.header.geometry is None or result.header.pixel_mm is None:
        return [(stack,) for stack in result.stacks]
    return [tuple(group) for group in result.series]


def _after(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _number(name: str) -> tuple[int, str, str]:
    """Return number, title and ImageType's fourth value of a dataset's series."""
    if name in SERIES:
        return SERIES[name]
    draw = int(name.removeprefix("sample_"))
    return 100 + draw, f"Posterior sample {draw}", f"SAMPLE_{draw:02d}"


def _groups(result: Reconstruction) -> list[list[str]]:
    """Return what shares a scale: all that is a magnitude, whatever is exported; the deviation for itself."""
    magnitudes = [n for n in result.names if n not in ("std", ZERO_FILLED)]
    magnitudes.sort(key=lambda n: n != "reconstruction")
    return [magnitudes, *([["std"]] if "std" in result.names else [])]


def _scale(result: Reconstruction, group: Sequence[str]) -> Scale:
    """Return the factor that gives the group's maximum the highest level, and the first one's window."""
    top = max(float(image.max()) for name in group for image in result.images(name))
    # A maximum below this would underflow in the division; such an image is empty.
    factor = top / LEVELS if top > 1e-36 else 1.0
    counts = np.zeros(LEVELS + 1, np.int64)
    for image in result.images(group[0]):
        counts += np.bincount(stored_values(image, factor).ravel(), minlength=LEVELS + 1)
    counts[0] = 0
    level = LEVELS
    if counts.any():
        level = max(1, int(np.searchsorted(np.cumsum(counts), WINDOW_QUANTILE * counts.sum())))
    # LINEAR with this centre and width draws 0 black and `level` white (PS3.3 C.11.2.1.2).
    return Scale(factor, ((level + 1) / 2, float(level + 1)))


def stored_values(image: np.ndarray, factor: float) -> np.ndarray:
    """Return uint16 levels 0 to 4095 of float32 magnitudes, to the nearest."""
    return np.clip(np.rint(image.astype(np.float64) / factor), 0, LEVELS).astype(np.uint16)


def _series_uid(
    result: Reconstruction, exam: Exam, name: str, number: int, stacks: Sequence[Stack], scale: Scale
) -> str:
    first = stacks[0]
    frames = {} if result.header.frames is None else {"frames": [result.label(stack) for stack in stacks]}
    return content_uid(
        "series",
        {
            # Raised when the same result is written differently: a series then never mixes both.
            "format": FORMAT,
            "number": number,
            "description": exam.description,
            "sources": {str(place): [s.instance for s in one] for place, one in exam.sources.items()},
            "check": None if result.check is None else result.check.words(),
            "raw": result.digest,
            "weights": result.weights_sha256,
            "version": result.version,
            "method": result.method,
            "parameters": result.parameters,
            "mask": result.mask,
            "kind": result.kind,
            "flags": result.flags,
            "contrast": result.header.contrast,
            "patient and study": exam.elements,
            "frame": exam.frame,
            "part": exam.part,
            "name": name,
            "affine": first.lps,
            "voxel": (*first.voxel_mm, result.header.slice_mm),
            "scale": (scale.factor, scale.window),
            "pixels": digest_of(result.images(name, [i for stack in stacks for i in stack.slices])),
            **frames,
        },
    )


def _datasets(result: Reconstruction, exam: Exam, one: _Series) -> Any:
    """Yield (image's number from 0, dataset ready to be written), one in memory at a time."""
    base = common(result, exam, one.kind, one.title, one.number, one.uid)
    number = 0
    for stack in one.stacks:
        affine = None if stack.lps is None else turned(stack.lps, one.view, result.header.crop)
        count = len(stack.slices)
        for place, image in enumerate(result.images(one.name, stack.slices)):
            stored = stored_values(one.view(image), one.scale.factor)
            if affine is None:
                dataset = secondary(base, result, stored, place, one.scale, one.title)
            else:
                source = exam.sources.get(stack.slices[place], ())
                settings = result.settings_of(stack)
                dataset = mr_image(
                    base, result, exam, stored, affine, place, count, one.scale, one.title, source, settings
                )
                dataset.InstanceNumber = number + 1
                say_frame(dataset, result.header.frames, stack.frame)
            yield number, file_dataset(dataset, one.uid)
            number += 1


def _write_series(
    result: Reconstruction,
    folder: Path,
    exam: Exam,
    one: _Series,
    progress: Callable[[int], None] | None,
) -> dict[str, Any]:
    target = folder / f"{one.number:03d}_{one.name}"
    target.mkdir()
    kind = "Secondary Capture"
    for place, dataset in _datasets(result, exam, one):
        dataset.save_as(target / f"{place + 1:04d}.dcm", enforce_file_format=True)
        kind = dataset.SOPClassUID.name
        if progress is not None:
            progress(place + 1)
    return _facts(one, target.name, kind) | {"slices": [result.slices[i] for i in one.slices]}


def _facts(one: _Series, name: str, kind: str) -> dict[str, Any]:
    return {
        "folder": name,
        "number": one.number,
        "title": one.title,
        "class": kind,
        "uid": one.uid,
        "value_of_a_level": one.scale.factor,
        "window_levels": one.scale.window,
    }


def _write_enhanced(result: Reconstruction, folder: Path, exam: Exam, one: _Series) -> dict[str, Any]:
    number = one.number + (ENHANCED if one.name in SERIES else ENHANCED_SAMPLES)
    target = folder / f"{number:03d}_{one.name}_enhanced"
    target.mkdir()
    uid = content_uid("enhanced", one.uid)
    kind = ""
    for instance, stack in enumerate(one.stacks, start=1):  # one object a frame
        images = [dataset for _, dataset in _datasets(result, exam, replace(one, stacks=(stack,)))]
        sources = [source for place in stack.slices for source in exam.sources.get(place, ())]
        own = result.label(stack)
        dataset = enhanced_image(images, sources, number=number, series_uid=uid, instance=instance, own=own)
        dataset.save_as(target / f"{instance:04d}.dcm", enforce_file_format=True)
        kind = dataset.SOPClassUID.name
    return _facts(one, target.name, kind) | {"number": number, "uid": uid}


def _write_map(result: Reconstruction, folder: Path, exam: Exam, one: _Series) -> dict[str, Any]:
    number = one.number - SERIES[one.name][0] + MAP_NUMBER  # of the same stack, above the same numbers
    target = folder / f"{number:03d}_{one.name}_map"
    target.mkdir()
    uid, kind = content_uid("map", one.uid), ""
    for instance, stack in enumerate(one.stacks, start=1):  # one object a frame
        sources: list[Dataset] = []
        for _, dataset in _datasets(result, exam, replace(one, stacks=(stack,))):
            del dataset.PixelData
            sources.append(dataset)
        values = np.stack([one.view(image) for image in result.images(one.name, stack.slices)])
        dataset = parametric_map(
            result, sources, values,
            title=one.title, number=number, series_uid=uid, scale=one.scale, instance=instance,
        )  # fmt: skip
        dataset.save_as(target / f"{instance:04d}.dcm", enforce_file_format=True)
        kind = dataset.SOPClassUID.name
    facts = _facts(one, target.name, kind)
    return facts | {"number": number, "uid": uid, "value_of_a_level": 1.0, "window_levels": None}
