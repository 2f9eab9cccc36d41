"""One slice: from the scan to the images that are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from mrunfold.coils import EspiritSettings
from mrunfold.coils.given import file_maps
from mrunfold.errors import InputError
from mrunfold.export import sample_name
from mrunfold.io import crop_image
from mrunfold.io.frames import Frames
from mrunfold.io.scan import Header, Scan
from mrunfold.masks import INTERLEAVES, Mask, acquired, draw
from mrunfold.methods.base import Method, Result, Seeds
from mrunfold.methods.held_out import check, checked_slices
from mrunfold.pipeline.clock import Clock
from mrunfold.pipeline.magnitude import (
    complex_image,
    floor_record,
    magnitude,
    noise_share,
    target_magnitude,
)
from mrunfold.pipeline.own import OwnParts
from mrunfold.pipeline.settings import ReconSettings, slices_for
from mrunfold.pipeline.threads import one_blas_thread
from mrunfold.pipeline.together import Shared
from mrunfold.pipeline.uncertainty import draws_of, origin, uncertainty_maps
from mrunfold.pipeline.units import in_units, unit_of
from mrunfold.pipeline.volume_parts import Volumes
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.prepare_trajectory import build_trajectory_problem
from mrunfold.problem import Problem, TargetKind

__all__ = ["Job", "Posed", "SliceImages", "choose_device", "draw_mask", "target_kind"]

Posed = tuple[Problem, Mask, np.ndarray, float]


@dataclass(frozen=True)
class SliceImages:
    """A slice's magnitudes float32 (readout, phase) in the file's scale, cropped, and what is known of them.

    target, zero_filled: None where there is none or where it was not asked for; uncertainty: `std`,
    `quantile_05` and `quantile_95` of the magnitude over posterior samples, or `std` as the method predicts
    it, or empty;
    samples: (draw, y, x) where they are kept, else None; image, complex_samples: complex64, of `combined`
    magnitude; coil_maps: complex64 (set, coil, readout, phase) of the file's coils, where asked for;
    mask: what was kept of what the file holds, on the grid without readout oversampling;
    flags: data crimes found; record: what the run log says of this slice.
    """

    recon: np.ndarray
    target: np.ndarray | None
    zero_filled: np.ndarray | None
    uncertainty: dict[str, np.ndarray]
    mask: Mask
    flags: tuple[str, ...]
    record: dict[str, Any]
    image: np.ndarray
    samples: np.ndarray | None = None
    complex_samples: np.ndarray | None = None
    coil_maps: np.ndarray | None = None

    def times(self, unit: float, of: str) -> SliceImages:
        """Return the images times `unit`; InputError that begins with `of` where one is not finite."""
        recon = in_units(self.recon, 1 / unit)
        if not np.isfinite(recon).all():
            raise InputError(
                f"{of} gives an image that is not finite in float32; scale its k-space, or leave the slice "
                "out by `slices`"
            )
        if unit == 1:
            return self
        return replace(
            self,
            recon=recon,
            target=in_units(self.target, 1 / unit),
            zero_filled=in_units(self.zero_filled, 1 / unit),
            image=in_units(self.image, 1 / unit),
            samples=in_units(self.samples, 1 / unit),
            complex_samples=in_units(self.complex_samples, 1 / unit),
            uncertainty={name: in_units(image, 1 / unit) for name, image in self.uncertainty.items()},
        )

    def maps(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield names and images of what the samples leave: maps of their spread, and those kept."""
        yield from self.uncertainty.items()
        for number, image in enumerate(() if self.samples is None else self.samples):
            yield sample_name(number), image


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is CUDA where there is one, else the CPU.

    Raises InputError for one that is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InputError(f"device {name!r} cannot be used ({reason[:80]}); try `device='cpu'`") from None
    return device


def target_kind(scan: Scan, settings: ReconSettings, first: int) -> TargetKind:
    """Return which magnitude is written: as asked, else `rss` where the file has its own RSS images."""
    if settings.target is not None:
        return settings.target
    return "rss" if scan.reference(first) is not None else "combined"


def draw_mask(scan: Scan, settings: ReconSettings, own: OwnParts | None = None) -> Mask | None:
    """Return the mask that all slices share, the user's or a drawn one, None for what the file acquired."""
    if own is not None and own.mask is not None:
        return own.mask
    if settings.mask == "acquired":
        return None
    if settings.mask == "given":
        raise InputError("settings say that a mask is given, and none is; hand it over as Own(mask=…)")
    assert settings.accel is not None
    _suits(settings.mask, scan.header)
    # On the grid of the final image: readout oversampling is not something that a mask saves.
    return draw(
        settings.mask,
        (scan.header.unoversampled, scan.header.matrix[1]),
        settings.accel,
        seed=settings.mask_seed(scan.path.name),
        calibration=settings.calibration,
        center_fraction=settings.center_fraction,
    )


def _suits(kind: str, header: Header) -> None:
    """Refuse masks of interleaves on the grid, and masks of the grid along a trajectory."""
    along = header.trajectory is not None
    if along != (kind in INTERLEAVES):
        wanted = " or ".join(INTERLEAVES) if along else "random or poisson"
        what = f"samples lie along a {header.trajectory} trajectory" if along else "k-space is on the grid"
        raise InputError(f"the {kind} mask cannot be used: {what}; take {wanted}")


def _kept(mask: Mask, problem: Problem) -> Mask:
    """Return the mask as the problem has it: without what the file does not hold, on the final grid."""
    array = problem.A.observed().any(dim=0).cpu().numpy()
    return acquired(array) if mask.kind == "acquired" else replace(mask, array=array)


def _of_mask(drawn: Mask | None, held: np.ndarray, header: Header) -> tuple[str, ...]:
    """Return what is to be said of a mask on this scan."""
    return _twice_undersampled(drawn, held, header) + _readout_undersampled(drawn, header)


def _twice_undersampled(drawn: Mask | None, held: np.ndarray, header: Header) -> tuple[str, ...]:
    complete = header.complete((held.shape[0], held.shape[1]))
    if drawn is None or held[complete].all() or not held.any():
        return ()
    return ("the mask was drawn over a file that is itself undersampled: the actual R counts both",)


def _readout_undersampled(mask: Mask | None, header: Header) -> tuple[str, ...]:
    """Say that a mask of points on a 2-D scan is a simulation; a .cfl and an array may be of a 3-D scan."""
    if mask is None or header.format in ("cfl", "array") or header.output is not None:
        return ()
    if (mask.array.all(axis=0) == mask.array.any(axis=0)).all():
        return ()
    return (
        "the mask undersamples the readout of a 2-D scan; a scanner can do so only with two phase encodings "
        "(3-D): the figures are of a simulation",
    )


def _empty(problem: Problem, recon: np.ndarray) -> tuple[str, ...]:
    if recon.any():
        return ()
    if problem.signal:
        return ("an image is zero everywhere though its k-space is not: look at the data",)
    return ("a slice holds no signal: its image is written as zeros, and so is its uncertainty",)


@dataclass(frozen=True)
class Job:
    """What is the same for all slices of a run.

    drawn: the mask that slices share, None for what the file acquired; kind: which magnitude is written;
    noise: the scan's noise samples; clock: where the time goes; own: what the user brought; shared: what
    frames have in common; volumes: what slices of a 3-D scan have in common.
    """

    scan: Scan
    settings: ReconSettings
    method: Method
    kind: TargetKind
    drawn: Mask | None
    noise: np.ndarray | None
    device: torch.device
    clock: Clock
    own: OwnParts = field(default_factory=OwnParts)
    shared: Shared = field(default_factory=Shared)
    volumes: Volumes = field(default_factory=Volumes)

    @cached_property
    def checked(self) -> frozenset[int]:
        """The slices of which samples are held out, to check the method by."""
        header = self.scan.header
        return checked_slices(slices_for(header, self.settings.images(header.images)), self.settings.check)

    def reconstruct(
        self, index: int, zero_filled: bool = False, progress: Callable[[float], None] | None = None
    ) -> SliceImages:
        """Reconstruct slice `index`, the same whichever others are; `zero_filled` asks for that image too."""
        return self.finished(index, self.problem(index, progress), zero_filled, progress)

    @torch.no_grad()
    def finished(
        self,
        index: int,
        posed: Posed,
        zero_filled: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> SliceImages:
        """Reconstruct slice `index` from what `problem` returned; the scan is not read."""
        header = self.scan.header
        problem, mask, held, unit = posed
        with self.clock("method"):
            seeds = Seeds((self.settings.slice_seed(self.scan.path.name, self.scan.number(index)),))
            result = self.method(problem, seeds=seeds, progress=progress)
        with self.clock("check"):
            checked = self._checked(index, problem, seeds, result)
        target = target_magnitude(problem, self.kind) if self.drawn is not None else None
        plain = _plain(problem, self.kind) if zero_filled else None
        kept = _kept(mask, problem)
        share = noise_share(result.mean, problem) if self.kind == "rss" else 0.0
        draws = draws_of(result, problem, self.kind, share)
        uncertainty = uncertainty_maps(result, draws, problem, self.kind, share)
        record = _slice_record(index, header.frames, problem, result, kept, checked)
        record["uncertainty"] = origin(result)
        record["noise_floor"] = floor_record(problem, self.kind, share)
        record["unit"] = unit  # of scale, noise and magnitudes above: the samples were divided by it
        recon = crop_image(magnitude(result.mean, problem, self.kind, share), header.crop)
        images = SliceImages(
            recon,
            None if target is None else crop_image(target, header.crop),
            None if plain is None else crop_image(plain, header.crop),
            {n: crop_image(u, header.crop) for n, u in uncertainty.items()},
            kept,
            header.notes
            + problem.flags
            + _of_mask(self.drawn, held, header)
            + _empty(problem, recon)
            + _disbelieved(checked, self.method.name),
            record,
            crop_image(complex_image(result.mean, problem), header.crop),
            None if draws is None or not self.settings.keep_samples else crop_image(draws, header.crop),
            _complex_draws(result, problem, header) if self.settings.keep_samples else None,
            _coil_maps(problem, header) if "maps" in self.settings.save else None,
        )
        return images.times(unit, f"{self.scan.path}: slice {index}")

    @torch.no_grad()
    def problem(self, index: int, progress: Callable[[float], None] | None = None) -> Posed:
        """Return the problem of a slice, its mask, what was acquired, and what samples are divided by."""
        header = self.scan.header
        with self.clock("read"):
            self.scan.ready(index, progress or (lambda fraction: None))
            kspace = self.scan.kspace(index)
            held = self.scan.acquired(index)
        # A slice without any sample (a volume may hold some) is reconstructed as zeros, under any mask.
        mask = self.drawn or acquired(held if held.any() else np.ones_like(held))
        how = _problem_settings(self.settings)
        noise = self.noise if self.own.noise is None else self.own.noise
        with self.clock("problem"), one_blas_thread():
            self.volumes.apart = self.settings.per_frame
            parts = self.volumes.of(self.scan, index, self.drawn, noise, how, self.own)
            unit = unit_of(kspace) if parts is None else parts.unit
            kspace = in_units(kspace, unit)
            common: dict[str, Any] = {
                "noise": in_units(noise, unit / self.scan.noise_ratio(index)),
                "acquired": held,
                "settings": how.times(1 / unit),
                "target": self.kind,
                "maps": self.own.maps_of(header, index),
            }
            trajectory = self.scan.trajectory(index)
            if parts is None and kspace.any():
                frames = (self.scan, self.settings, how, self.drawn, self.own, noise, unit)
                common["shared"] = self.shared.of(index, *frames)
            if trajectory is not None:
                problem = build_trajectory_problem(kspace, trajectory, header.crop, mask.array, **common)
                return problem.to(self.device), mask, held, unit
            common["calibration"] = in_units(self.scan.calibration(index), unit)
            common["reference"] = in_units(self.scan.reference(index), unit)
            if parts is not None:
                common["volume"] = parts.of(index)
            problem = build_problem(kspace, header, mask, **common)
        return problem.to(self.device), mask, held, unit

    def _checked(self, index: int, problem: Problem, seeds: Seeds, result: Result) -> dict[str, Any] | None:
        """Return what held-out samples say of the method on this slice, None where it is not looked at."""
        if "check" in result.record:  # what chose the method has checked it
            return result.record["check"]
        if index not in self.checked or not problem.signal:
            return None
        return check(self.method, problem, seeds)


def _slice_record(
    index: int,
    frames: Frames | None,
    problem: Problem,
    result: Result,
    kept: Mask,
    checked: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return what the run log says of one slice."""
    of = (
        {}
        if frames is None
        else {"frame": dict(frames.labels[frames.frame[index]]), "slice": frames.place[index]}
    )
    return {
        "index": index,
        **of,
        "scale": float(problem.scale),
        "sigma_y": float(problem.sigma_y),
        "seconds": result.seconds,
        "evaluations": result.evaluations,
        "mask_delivered": kept.delivered,
        "problem": problem.record,
        "method": result.record,
        **({} if checked is None else {"check": checked}),
    }


def _disbelieved(checked: dict[str, Any] | None, method: str) -> tuple[str, ...]:
    """Return a note where the check fails, with the methods to try instead: never the one that failed."""
    if checked is None or not checked["verdict"].startswith("do not believe"):
        return ()
    others = " or ".join(name for name in ("sense", "auto") if name != method)
    return (f"{checked['verdict']} (see `check` in record.json); look at --method {others} as well",)


def _plain(problem: Problem, kind: TargetKind) -> np.ndarray:
    """Return the magnitude (y, x) of the zero-filled image Aᴴy."""
    x = problem.A.adjoint(problem.y)
    return magnitude(x, problem, kind, noise_share(x, problem) if kind == "rss" else 0.0)


def _complex_draws(result: Result, problem: Problem, header: Header) -> np.ndarray | None:
    if result.samples is None:
        return None
    return crop_image(np.stack([complex_image(one, problem) for one in result.samples]), header.crop)


def _coil_maps(problem: Problem, header: Header) -> np.ndarray:
    """Return the maps (set, coil, readout, phase) of the file's coils; of one coil they are 1."""
    maps = problem.A.coil_maps()
    assert maps is not None
    assert problem.unwhitening is not None
    live = np.ones(header.coils, bool)
    live[problem.record["coils"]["dropped"]] = False
    return file_maps(maps, problem.unwhitening, live)


def _problem_settings(settings: ReconSettings) -> ProblemSettings:
    return ProblemSettings(
        compression=None if settings.coils == "all" else settings.coils,
        espirit=EspiritSettings(sets=settings.map_sets)
        if settings.maps == "given"
        else EspiritSettings(backend=settings.maps, sets=settings.map_sets),
        cache="auto" if settings.cache else None,
        sigma=settings.noise,
        spikes=settings.spikes,
    )
