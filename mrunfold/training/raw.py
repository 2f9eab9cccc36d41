"""Raw scans to train on: measured k-space, undersampled after the fact and prepared as in use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrunfold.coils import EspiritSettings
from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.io.grid import of_readout, remove_oversampling, without_oversampling
from mrunfold.io.scan import Header
from mrunfold.masks import calibration_region
from mrunfold.operators import Sense, ifft2c
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem
from mrunfold.protocols import Measurements
from mrunfold.training.chance import uniform
from mrunfold.training.sampling import draw_kind, drawn_mask

__all__ = ["RawFile", "RawSlice", "cropped", "draw_raw", "padded", "raw_files"]

log = logging.getLogger(__name__)
KERNEL = EspiritSettings().kernel_width
TRIES = 20  # masks: of some the centre is too small to calibrate on


@dataclass(frozen=True)
class RawSlice:
    """The root sum of squares of one slice's coil images (y, x), read when it is drawn."""

    file: Path
    index: int

    def __call__(self, generator: torch.Generator) -> Tensor:
        with open_scan(self.file) as scan:
            kspace, _ = cropped(scan.kspace(self.index), scan.header)
        image = torch.linalg.vector_norm(ifft2c(torch.from_numpy(kspace)), dim=0)
        return image / max(float(np.percentile(image.numpy(), 99)), 1e-30)


@dataclass(frozen=True)
class RawFile:
    """A multicoil file: the slices of it that are filled enough."""

    file: Path
    slices: tuple[int, ...]


def raw_files(
    files: Sequence[Path], least_content: float, full: bool = True
) -> tuple[list[RawFile], list[Path]]:
    """Return the files with multicoil k-space that can be trained on, and the others.

    full: of which all was sampled, else of which the centre was, wide enough to calibrate on.

    Every slice is read once, before any training: the reader raises InputError, naming file and slice, where
    a value is NaN or infinite.
    """
    from rich.progress import track

    found, without = [], []
    for file in track(files, "k-space to train on", transient=True, disable=len(files) < 3):
        with open_scan(file) as scan:
            header = scan.header
            if header.coils < 2 or header.trajectory is not None or header.grid is not None:
                without.append(file)
                continue
            tops, images = [], []
            for index in range(len(scan)):
                kspace = scan.kspace(index)
                if not _usable(scan.acquired(index), header, full):
                    break
                cut, _ = cropped(kspace, header)
                image = np.linalg.norm(ifft2c(torch.from_numpy(cut)).numpy(), axis=0)[::4]
                images.append(image)
                tops.append(float(np.percentile(image, 99)))
        if len(images) < header.slices:
            without.append(file)
            continue
        filled = [float((image > 0.1 * max(tops)).mean()) > least_content for image in images]
        kept = tuple(int(index) for index in np.flatnonzero(filled))
        if kept:
            found.append(RawFile(file, kept))
    return found, without


def _usable(there: np.ndarray, header: Header, full: bool) -> bool:
    if full:
        return bool(there[header.complete(header.matrix)].all())
    whole = bool((there == there.any(axis=0)).all())  # lines; else the readout cannot be cut
    return (whole or header.unoversampled == len(there)) and min(calibration_region(there)) >= KERNEL


def draw_raw(
    files: Sequence[RawFile],
    measurements: Measurements,
    plan: tuple[tuple[int, int], tuple[str, ...], int],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Sense, Tensor]:
    """Return x (item, set, y, x), y, A and σ_y of some slices of one file, each under its own mask.

    plan: the range of readout lengths, kinds of masks, items.  The readout is cut to a part of the field of
    view, as a scanner with filters would; lines stay as they were sampled.  Maps, σ_y and scale come from the
    samples that the mask keeps, the target is the full data combined with these maps: `build_problem`, as in
    use.
    """
    sizes, kinds, count = plan
    chosen = files[int(torch.randint(len(files), (1,), generator=generator))]
    with open_scan(chosen.file) as scan:
        header = scan.header
        top = min(sizes[1], header.unoversampled)
        rows = 4 * (round(uniform(min(sizes[0], top), top, generator)) // 4)
        problems = []
        for _ in range(count):
            index = chosen.slices[int(torch.randint(len(chosen.slices), (1,), generator=generator))]
            kspace, cut = cropped(scan.kspace(index), header, rows, generator)
            problems.append(_problem(chosen.file, kspace, cut, measurements, kinds, generator))
    sets = max(problem.A.domain.shape[0] for problem in problems)
    found = [problem.A.coil_maps() for problem in problems]
    maps = torch.stack([padded(one, sets) for one in found if one is not None])
    mask = torch.stack([problem.A.observed().any(dim=0).float() for problem in problems])
    x = torch.stack([padded(problem.target, sets) for problem in problems if problem.target is not None])
    y = torch.stack([problem.y for problem in problems])
    return x, y, Sense(maps, mask), torch.stack([problem.sigma_y for problem in problems])


def _problem(
    file: Path,
    kspace: np.ndarray,
    header: Header,
    measurements: Measurements,
    kinds: tuple[str, ...],
    generator: torch.Generator,
) -> Problem:
    """Return the problem of a slice under a mask of which the centre can be calibrated on."""
    most = measurements.coils[1]
    settings = ProblemSettings(compression=most if len(kspace) > most else None, cache=None)
    everything = np.ones(kspace.shape[1:], bool)
    reason = ""
    for _ in range(TRIES):
        kind = draw_kind(kinds, measurements, generator)
        mask = drawn_mask(kind, (kspace.shape[1], kspace.shape[2]), measurements, generator)
        try:
            return build_problem(kspace, header, mask, acquired=everything, settings=settings)
        except InputError as error:
            reason = str(error)
    raise InputError(f"{file}: none of {TRIES} masks made a problem to train on ({reason})")


def padded(images: Tensor, sets: int) -> Tensor:
    """Return (set, …) with sets of zeros behind, up to `sets`."""
    more = images.new_zeros((sets - len(images), *images.shape[1:]))
    return torch.cat([images, more])


def cropped(
    kspace: np.ndarray, header: Header, rows: int | None = None, generator: torch.Generator | None = None
) -> tuple[np.ndarray, Header]:
    """Return k-space (coil, readout, phase) and its header without readout oversampling, and of only `rows`
    of the readout's field of view, from a random place on."""
    kspace, header = without_oversampling(kspace, header)
    if rows is None or generator is None:
        return kspace, header
    first = int(torch.randint(kspace.shape[1] - rows + 1, (1,), generator=generator))
    # The middle of a shifted image is the part that begins at `first`.
    shift = first + rows // 2 - kspace.shape[1] // 2
    turns = np.arange(kspace.shape[1]) - kspace.shape[1] // 2
    shifted = kspace * np.exp(2j * np.pi * shift / kspace.shape[1] * turns).astype(np.complex64)[:, None]
    part = replace(header, unoversampled=rows)
    return remove_oversampling(shifted, part), of_readout(part, rows)
