"""What a reconstruction run is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mrunfold.coils import EspiritSettings
from mrunfold.coils.noise import checked_sigma
from mrunfold.errors import InputError, did_you_mean
from mrunfold.io.arrays import SUFFIXES
from mrunfold.io.scan import Header
from mrunfold.io.trajectory import Trajectory
from mrunfold.methods.registry import DEFAULT_METHOD

__all__ = ["SAVED", "ReconSettings", "parse_slices", "slices_for"]

SAVED = ("complex", "mask", "maps")
SPIKES = ("drop", "keep")

MAX_SETS = 8
MAX_THREADS = 256  # a number beyond ends the process where the system gives no more
MAX_SEED = 2**32 - 1  # what all generators take


@dataclass(frozen=True)
class ReconSettings:
    """A run's settings, checked as far as they can be without the scan.

    mask: "acquired" keeps what the file holds, "given" is one of the user's (`Own`), else a kind of
    `mrunfold.masks` with acceleration `accel`, its fully sampled centre `calibration` (lines, or (readout,
    phase)) or `center_fraction`; method, parameters: as `get_method`; slices: Python slice "0:3", indices
    "0,4,-1" of the slices of a frame, None for all; frames: the same of echoes, repetitions and the like;
    per_frame: noise and coil maps of each frame by itself, not of all frames together;
    seed: an integer, or "name" for fastMRI's seed of the file's name; target: what magnitude is written, None
    for `rss` where the file has its own RSS images and `combined` elsewhere;
    coils: virtual coils to compress to, a fraction of energy below 1, "all", or "auto": of more than 8 coils
    those that hold more than noise; maps: "torch" or "sigpy", whose ESPIRiT, or "given", the user's (`Own`);
    map_sets: of coil maps, "auto" for one or two by what the calibration shows, see `EspiritSettings`;
    device: "auto", "cpu", "cuda", …; threads: of the CPU, None as torch has it; noise: the noise level √E|n|²
    of every coil, in the file's units, None to estimate it or take it from the noise scan;
    trajectory: where samples lie, a file or a name of `io.trajectory.NAMED`, matrix: (y, x) of the image
    then, see `io.trajectory`;
    measurement: which of an ISMRMRD file's groups, None for the usual one; cache: keep coil maps;
    spikes: "drop" leaves spikes in k-space out, "keep" takes them as measured, see `io.spikes`;
    keep_samples: write the posterior samples as well, not only maps of their spread; save: of `SAVED`: coil
    maps in recon.h5, the complex image as NIfTI, with `keep_samples` complex samples; the complex image and
    the mask are in recon.h5 anyway; reader: of the raw file, as `io.open_scan`, None to recognise it.
    """

    mask: str = "acquired"
    accel: float | None = None
    calibration: int | tuple[int, int] | None = None
    center_fraction: float | None = None
    method: str = DEFAULT_METHOD
    parameters: dict[str, Any] = field(default_factory=dict)
    slices: str | None = None
    frames: str | None = None
    per_frame: bool = False
    seed: int | Literal["name"] = 0
    target: Literal["combined", "rss"] | None = None
    coils: int | float | Literal["auto", "all"] = "auto"
    maps: Literal["torch", "sigpy", "given"] = "torch"
    map_sets: int | Literal["auto"] = "auto"
    device: str = "auto"
    threads: int | None = None
    noise: float | None = None
    measurement: str | None = None
    trajectory: str | None = None
    matrix: tuple[int, int] | None = None
    cache: bool = True
    spikes: Literal["drop", "keep"] = "drop"
    keep_samples: bool = False
    check: int = 3
    reader: str | None = None
    save: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        drawing = {
            "accel": self.accel,
            "calibration": self.calibration,
            "center_fraction": self.center_fraction,
        }
        given = [name for name, value in drawing.items() if value is not None]
        if self.mask == "given" and given:
            raise InputError(f"`{given[0]}` is for a mask to draw, and `mask` is given; leave one out")
        if self.mask == "acquired" and given:
            raise InputError(f"`{given[0]}` needs a mask to draw; add `mask`, for example `mask='poisson'`")
        if Path(self.mask).suffix.lower() in SUFFIXES:
            raise InputError(
                f"a mask of one's own ({Path(self.mask).name}) is for `recon`; give a kind of mask here"
            )
        if self.mask not in ("acquired", "given") and self.accel is None:
            raise InputError(f"`mask={self.mask}` needs an acceleration; add `accel`, for example `accel=4`")
        if self.target not in (None, "combined", "rss"):
            raise InputError(
                f"there is no target {self.target!r}{did_you_mean(self.target, ('combined', 'rss'))}"
            )
        if self.coils not in ("auto", "all") and not (isinstance(self.coils, int | float) and self.coils > 0):
            raise InputError(
                f"`coils` is a number of coils, a fraction of energy below 1, auto or all, got {self.coils}"
            )
        if self.maps != "given":
            EspiritSettings(backend=self.maps, sets=self.map_sets)  # refuses what cannot be
        unknown = sorted(set(self.save) - set(SAVED))
        if unknown:
            raise InputError(f"`save` takes {', '.join(SAVED)}, got {unknown[0]!r}")
        if self.matrix is not None and self.trajectory is None:
            raise InputError(
                "`matrix` is for k-space along a `trajectory`; name its file, or leave `matrix` out"
            )
        if self.spikes not in SPIKES:
            raise InputError(f"`spikes` is drop or keep, got {self.spikes!r}")
        if self.noise is not None:
            checked_sigma(self.noise)
        if isinstance(self.map_sets, int) and self.map_sets > MAX_SETS:
            raise InputError(
                f"`map_sets` is from 1 to {MAX_SETS}: an object folds over once or twice, got {self.map_sets}"
            )
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise InputError(f"`threads` is from 1 to {MAX_THREADS}, got {self.threads}")
        if isinstance(self.seed, int) and not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"`seed` is an integer from 0 to {MAX_SEED}, or 'name', got {self.seed}")

    @property
    def opening(self) -> tuple[str | None, str | None, Trajectory | None]:
        """What `io.open_scan` takes besides the path."""
        along = None if self.trajectory is None else Trajectory.of(self.trajectory, self.matrix)
        return self.measurement, self.reader, along

    def record(self) -> dict[str, Any]:
        """Return the settings as the run record holds them, of a path only its last part."""
        record = asdict(self)
        record["trajectory"] = None if self.trajectory is None else Path(self.trajectory).name
        record["parameters"] = {
            key: Path(value).name if isinstance(value, str) else value
            for key, value in self.parameters.items()
        }
        return record

    def images(self, header: Header) -> list[int]:
        """Return the images of a scan that `slices` and `frames` pick, frame after frame.

        Raises InputError where one of them reaches beyond the scan, or there is no image of both.
        """
        places = parse_slices(self.slices, header.places)
        if header.frames is None:
            parse_slices(self.frames, 1, "frames")
            return places
        found = header.frames.of(parse_slices(self.frames, len(header.frames.labels), "frames"), places)
        if not found:
            raise InputError("the scan has none of these slices in these frames; `info` lists what it has")
        return found

    def mask_seed(self, filename: str) -> int | tuple[int, ...]:
        """Return the mask's seed: the integer, or fastMRI's characters of the file's name."""
        from mrunfold.masks import seed_from_name

        return seed_from_name(filename) if self.seed == "name" else self.seed

    def slice_seed(self, filename: str, index: int) -> int:
        """Return the seed of slice `index`, the same whichever other slices are reconstructed."""
        import numpy as np

        base = self.mask_seed(filename)
        words = [*base, index] if isinstance(base, tuple) else [base, index]
        return int(np.random.SeedSequence(words).generate_state(1, np.uint32)[0])


def parse_slices(text: str | None, count: int, what: str = "slices") -> list[int]:
    """Return the indices that `text` ("0:3", "::2", "0,4,-1", None for all) picks of `count` things.

    Raises InputError where it is not readable, picks nothing, or reaches beyond the scan.
    """
    if text is None:
        return list(range(count))
    wanted = f"`{what}` takes 0:3, ::2 or 0,4,-1 within {count} {what} (0 to {count - 1}), got {text!r}"
    try:
        if ":" in text:
            parts = [int(part) if part.strip() else None for part in text.split(":")]
            if len(parts) > 3:
                raise InputError(wanted)
            found = list(range(count))[slice(*parts)]
        else:
            found = [range(count)[int(part)] for part in text.split(",")]
    except (ValueError, IndexError):
        raise InputError(wanted) from None
    if not found or len(set(found)) != len(found):
        raise InputError(wanted)
    return found


def slices_for(header: Header, outputs: Sequence[int]) -> list[int]:
    """Return the slices of the scan that make up the images `outputs`: these, mostly.

    Of a 3-D scan that is split along its readout each image has pixels of all positions of its volume.
    """
    if header.output is None:
        return list(outputs)
    each, along = header.crop[1], header.images.crop[0]
    volumes = dict.fromkeys(output // each for output in outputs)
    return [index for volume in volumes for index in range(volume * along, (volume + 1) * along)]
