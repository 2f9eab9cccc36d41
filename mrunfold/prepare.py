"""From k-space and a mask to (y, A, σ_y, scale): coils, maps, noise, units and target of a slice."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from mrunfold.coils.cache import cache_folder, cached_maps
from mrunfold.coils.calibration import calibration_block
from mrunfold.coils.espirit import EspiritSettings
from mrunfold.coils.given import white_maps
from mrunfold.coils.noise import least_sigma_y
from mrunfold.coils.rss import rss_noise
from mrunfold.coils.spikes import leave_out
from mrunfold.coils.together import Together, find_together
from mrunfold.coils.transform import CoilTransform, OfVolume, coil_words, find_whitening
from mrunfold.errors import InputError
from mrunfold.io.crimes import data_crimes
from mrunfold.io.scan import sampled
from mrunfold.operators import FourierMask, LinearOperator, Sense, ifft2c
from mrunfold.problem import Problem, TargetKind, rescale

if TYPE_CHECKING:
    from mrunfold.io.scan import Header
    from mrunfold.masks import Mask

__all__ = [
    "AUTO_COILS", "ProblemSettings", "Steps", "build_problem", "compressed_coils", "find_shared",
    "kept_samples", "usable_maps",
]  # fmt: skip

log = logging.getLogger(__name__)

AUTO_COILS = 8


@dataclass(frozen=True)
class ProblemSettings:
    """How a problem is built.

    compression: virtual coils to keep (int), or the fraction of energy they hold (float), None for all coils,
    "auto" for what `compression_matrix` has for it, where there are more than `AUTO_COILS` coils;
    espirit: of the coil maps, one or two sets as a slice needs; cache: folder where maps are kept, "auto" for
    `coils.cache_folder()`, None to keep none; oversampling: remove readout oversampling where there is any;
    sigma: the noise level √E|n|² of every coil in the file's units, None to estimate it or to take it from
    the noise scan; spikes: "drop" leaves them out, "keep" only counts them (`io.spikes.find_spikes`).
    """

    compression: int | float | Literal["auto"] | None = "auto"
    espirit: EspiritSettings = field(default_factory=lambda: EspiritSettings(sets="auto"))
    cache: Path | Literal["auto"] | None = "auto"
    oversampling: bool = True
    sigma: float | None = None
    spikes: Literal["drop", "keep"] = "drop"

    def times(self, factor: float) -> ProblemSettings:
        """Return the settings for k-space that was multiplied by `factor`."""
        return self if self.sigma is None else replace(self, sigma=self.sigma * factor)


def build_problem(
    kspace: np.ndarray,
    header: Header,
    mask: Mask,
    *,
    noise: np.ndarray | None = None,
    acquired: np.ndarray | None = None,
    calibration: np.ndarray | None = None,
    settings: ProblemSettings | None = None,
    target: TargetKind = "combined",
    reference: np.ndarray | None = None,
    maps: np.ndarray | None = None,
    shared: Together | None = None,
    volume: OfVolume | None = None,
) -> Problem:
    """Return the problem of one slice, y (coil, y, x), from k-space (coil, readout, phase) and a mask.

    mask: on the grid after oversampling is removed, or on the stored one, of whose rows the nearest are then
    taken; noise: the noise scan (coil, samples) or None; acquired: what the file holds, bool (readout,
    phase), by default wherever a coil is not zero; calibration: k-space that only the maps are made of;
    reference: the file's own root-sum-of-squares image, the target `rss` where k-space is not fully sampled.
    Maps, covariance, σ_y and scale come from samples that are both acquired and in the mask; the target is
    None unless all k-space inside its padding was acquired.  maps: the user's, (set, coil, y, x) of the
    file's coils, which are not compressed; shared: noise and maps found from all frames of this place
    (`find_shared`); volume: what all slices of a 3-D scan share.  An all-zero slice gives y = 0, scale 1,
    uniform maps.  Raises InputError for NaN, shapes that do not fit, too small a calibration region.
    """
    settings, run = settings or ProblemSettings(), Steps()
    with run("data crimes"):
        held = _checked(kspace, header, acquired)
        flags = tuple(data_crimes(kspace, held, header)) if volume is None or volume.crimes else ()
    with run("spikes"):
        spiked = leave_out(kspace, held, mask.array, header, settings.spikes, settings.oversampling, volume)
        flags += spiked.flags
    with run("oversampling"):
        full, held = _on_final_grid(spiked.kspace, held, header, settings, run.record)
    with run("mask"):
        keep = kept_samples(mask, held, header, full.shape[1:], not kspace.any())
        measured, left = np.where(keep, full, np.complex64(0)), spiked.left(keep, run.record)
    if volume is None:
        given = (noise, calibration, maps is not None, shared)
        coils, white, ready = _from_slice(run, measured, keep, header, settings, *given)
    else:
        coils, white, ready = volume.coils, volume.coils.apply(measured), volume.maps
        run.record |= copy.deepcopy(volume.record)
    with run("maps"):
        if maps is not None:
            ready = white_maps(maps, coils, (white.shape[1], white.shape[2]), header.matrix[0])
            run.record["maps"] = "given"
        A, white = _operator(white, left, ready, run.record), white if left is keep else white * left
    with run("scale"):
        common = None if volume is None else volume.scale
        y, told, scale = rescale(torch.from_numpy(white), A, torch.ones((), dtype=torch.float32), common)
        sigma_y = told.clamp_min(least_sigma_y(run.record))
    with run("target"):
        image = _target(target, full, held, header, coils, A, scale, reference)
    back = torch.from_numpy(coils.inverse().astype(np.complex64))
    floor, said = rss_noise(coils, held, header, run.record), flags + coil_words(run.record)
    known = (A.coil_gain(back), back, floor, said, run.record)
    return Problem(y, A, sigma_y, scale, image, "none" if image is None else target, *known)


def find_shared(
    frames: Iterable[tuple[np.ndarray, np.ndarray, float]],
    header: Header,
    mask: Mask | None,
    *,
    noise: np.ndarray | None = None,
    settings: ProblemSettings | None = None,
    with_maps: bool = True,
) -> Together | None:
    """Return the noise and coil maps of frames of one place, from samples that are acquired and in the mask.

    frames: of each k-space (coil, readout, phase), what was acquired of it, and its noise over that of
    `noise`; mask: None for all that was acquired; with_maps: False where the user brings maps.  None where
    the frames have no coil with signal in common.  Raises InputError where none has a calibration region.
    """
    from mrunfold.masks import acquired

    settings = settings or ProblemSettings()
    pieces = []
    for kspace, held, ratio in frames:
        there = _checked(kspace, header, held)
        sought = there if mask is None else mask.array
        kspace = leave_out(kspace, there, sought, header, settings.spikes, settings.oversampling).kspace
        full, kept = _on_final_grid(kspace, there, header, settings, {})
        one = acquired(kept) if mask is None else mask
        keep = kept_samples(one, kept, header, full.shape[1:], not kspace.any())
        pieces.append((np.where(keep, full, np.complex64(0)) / np.float32(ratio), keep))
    few = settings.compression == "auto" and header.coils <= AUTO_COILS
    folder = cache_folder() if settings.cache == "auto" else settings.cache
    how = (settings.espirit, None if few else settings.compression, folder)
    return find_together(pieces, noise, settings.sigma, *how, with_maps=with_maps)


def _whitening(
    kspace: np.ndarray,
    keep: np.ndarray,
    noise: np.ndarray | None,
    record: dict[str, Any],
    settings: ProblemSettings,
    shared: Together | None,
) -> CoilTransform:
    if shared is None:
        return find_whitening(kspace, keep, noise, record, settings.sigma)
    record |= shared.record
    return shared.coils


def _from_slice(
    run: Steps, measured: np.ndarray, keep: np.ndarray, header: Header, settings: ProblemSettings,
    noise: np.ndarray | None, calibration: np.ndarray | None, own: bool, shared: Together | None,
) -> tuple[CoilTransform, np.ndarray, np.ndarray | None]:  # fmt: skip
    """Return coils, k-space in them (coil, y, x) and maps (set, coil, y, x), of this slice or its frames."""
    apart = _calibration_apart(calibration, keep, header, settings)
    with run("noise"):
        coils = _whitening(*_with_centre(apart, measured, keep), noise, run.record, settings, shared)
    if shared is not None or coils.live.sum() == 1 or not coils.signal or own:
        return coils, coils.apply(measured), None if shared is None else shared.maps
    with run("calibration"):
        coils, block = _calibrated(*(apart or (measured, keep)), coils, settings, run.record)
        white = coils.apply(measured)
    if len(white) == 1:
        return coils, white, None
    with run("maps"):
        folder = cache_folder() if settings.cache == "auto" else settings.cache
        maps, said = cached_maps(block, (white.shape[1], white.shape[2]), settings.espirit, folder)
        run.record["maps"] = said
    return coils, white, maps


def _calibrated(
    kspace: np.ndarray,
    keep: np.ndarray,
    coils: CoilTransform,
    settings: ProblemSettings,
    record: dict[str, Any],
) -> tuple[CoilTransform, np.ndarray]:
    """Return the coils, compressed where that is wanted, and their calibration block (coil, h, w)."""
    espirit = settings.espirit
    block = coils.apply(calibration_block(kspace, keep, espirit.calibration_width, espirit.kernel_width))
    record["calibration"] = list(block.shape[1:])
    return compressed_coils(coils, block, settings, record)


def compressed_coils(
    coils: CoilTransform, block: np.ndarray, settings: ProblemSettings, record: dict[str, Any]
) -> tuple[CoilTransform, np.ndarray]:
    """Return coils and their calibration block (coil, …), both compressed where `settings` ask for it."""
    few = settings.compression == "auto" and len(block) <= AUTO_COILS
    if settings.compression is None or few:
        return coils, block
    return coils.compressed(block, settings.compression, record)


def _calibration_apart(
    calibration: np.ndarray | None, keep: np.ndarray, header: Header, settings: ProblemSettings
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return calibration k-space on the final grid and what of it was sampled, bool (y, x).

    None where there is none, or where the image's own sampled centre is as large.
    """
    from mrunfold.masks import calibration_region

    if calibration is None:
        return None
    there = (calibration != 0).any(axis=0)
    kspace, there = _on_final_grid(calibration, there, header, settings, {})
    return None if min(calibration_region(there)) <= min(calibration_region(keep)) else (kspace, there)


def _with_centre(
    apart: tuple[np.ndarray, np.ndarray] | None, measured: np.ndarray, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return k-space for the noise to be estimated from, and what of it was sampled.

    Its centre is that of the calibration scan, of one contrast: what is not noise there has a low rank.
    """
    if apart is None:
        return measured, keep
    kspace, there = apart
    return np.where(there, kspace, measured), keep | there


class Steps:
    """Times the named steps and keeps what they say."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {"steps": [], "seconds": {}}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if name not in self.record["steps"]:
            self.record["steps"].append(name)
        spent = self.record["seconds"].get(name, 0.0) + time.perf_counter() - start
        self.record["seconds"][name] = round(spent, 4)


def _checked(kspace: np.ndarray, header: Header, acquired: np.ndarray | None) -> np.ndarray:
    """Check k-space and return what of it was acquired, bool (readout, phase)."""
    if kspace.ndim != 3 or kspace.shape[1:] != tuple(header.matrix) or not np.iscomplexobj(kspace):
        raise InputError(
            f"build_problem expects complex k-space (coil, readout, phase) = (coil, {header.matrix[0]}, "
            f"{header.matrix[1]}) as its header says, got {kspace.shape} {kspace.dtype}; give one slice"
        )
    bad = int(kspace.size - np.isfinite(kspace).sum())
    if bad:
        raise InputError(
            f"k-space has {bad} values that are NaN or infinite; leave the slice out or export again"
        )
    if acquired is None:
        return sampled(kspace)
    if acquired.shape != kspace.shape[1:]:
        raise InputError(
            f"k-space is {kspace.shape} and what was acquired of it {acquired.shape}; give (readout, phase)"
        )
    return acquired.astype(bool)


def _on_final_grid(
    kspace: np.ndarray, held: np.ndarray, header: Header, settings: ProblemSettings, record: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return k-space complex64 and what was acquired of it, without readout oversampling."""
    kspace = kspace.astype(np.complex64, copy=False)
    stored, wanted = header.matrix[0], header.unoversampled
    if not settings.oversampling or wanted == stored:
        record["oversampling"] = f"kept: {stored} readout samples"
        return kspace, held
    from mrunfold.io.grid import remove_oversampling

    record["oversampling"] = f"removed: {stored} → {wanted} readout samples"
    return remove_oversampling(kspace, header), _rows(held, wanted)


def _rows(array: np.ndarray, wanted: int) -> np.ndarray:
    """Return the rows of (stored, phase) nearest to where `wanted` rows over the same extent lie."""
    stored = len(array)
    rows = stored // 2 + np.rint((np.arange(wanted) - wanted // 2) * stored / wanted).astype(int)
    return array[np.clip(rows, 0, stored - 1)]


def kept_samples(
    mask: Mask, held: np.ndarray, header: Header, shape: tuple[int, ...], zero: bool
) -> np.ndarray:
    """Return which samples enter, bool (y, x): in the mask and acquired; all of the mask in a zero slice."""
    array = np.asarray(mask.array)
    if array.shape != shape and array.shape == tuple(header.matrix):
        array = _rows(array, shape[0])
    if array.shape != shape:
        raise InputError(
            f"the mask is {array.shape} and k-space {tuple(shape)} (readout, phase) without readout "
            f"oversampling, {tuple(header.matrix)} as stored; draw the mask for one of these"
        )
    keep = array if zero else array & held
    if not keep.any():
        raise InputError(
            f"the mask keeps none of the {int(held.sum())} samples that were acquired; "
            "choose another seed, a lower acceleration or `mask='acquired'`"
        )
    return keep


def _operator(
    white: np.ndarray, keep: np.ndarray, maps: np.ndarray | None, record: dict[str, Any]
) -> LinearOperator:
    mask = torch.from_numpy(keep.astype(np.float32))
    if len(white) == 1 and maps is None:
        record["maps"] = "one coil"
        return FourierMask(mask)
    return Sense(torch.from_numpy(usable_maps(maps, white.shape, record)), mask)


def usable_maps(maps: np.ndarray | None, shape: tuple[int, ...], record: dict[str, Any]) -> np.ndarray:
    """Return maps (set, coil, y, x), uniform ones of `shape` (coil, y, x) where none can be found.

    Neither zero k-space nor pure noise has a support; A = 0 would leave methods nothing to step by.
    """
    if maps is not None:
        there = np.logical_or.reduce([sampled(one) for one in maps])
        record["map_sets"] = len(maps)
        record["support"] = round(float(there.mean()), 4)
        if there.any():
            return maps
    level = logging.INFO if "volume" in record else logging.WARNING  # some slices lie beside the object
    log.log(level, "no coil maps can be found (no signal): they are taken as uniform")
    record["maps"] = "uniform"
    return np.full((1, *shape), shape[0] ** -0.5, np.complex64)


def _target(
    kind: TargetKind, full: np.ndarray, held: np.ndarray, header: Header, coils: CoilTransform,
    A: LinearOperator, scale: Tensor, reference: np.ndarray | None,
) -> Tensor | None:  # fmt: skip
    if kind == "none":
        return None
    if not held[header.complete((held.shape[0], held.shape[1]))].all():
        return _from_reference(reference, held.shape, scale) if kind == "rss" else None
    if kind == "rss":
        images = ifft2c(torch.from_numpy(full))
        return images.abs().square().sum(dim=0, keepdim=True).sqrt() / scale
    images = ifft2c(torch.from_numpy(coils.apply(full)))
    return A.combine(images) / scale


def _from_reference(reference: np.ndarray | None, shape: tuple[int, ...], scale: Tensor) -> Tensor | None:
    """Return the file's own image, centred on the grid and zero around it, (1, y, x)."""
    if reference is None:
        return None
    if any(m > n for m, n in zip(reference.shape, shape, strict=True)):
        raise InputError(
            f"the file's own image is {reference.shape} and k-space {shape}; it cannot be compared"
        )
    image = np.zeros(shape, np.float32)
    y, x = (n // 2 - m // 2 for n, m in zip(shape, reference.shape, strict=True))
    image[y : y + reference.shape[0], x : x + reference.shape[1]] = reference
    return torch.from_numpy(image)[None] / scale
