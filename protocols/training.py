"""Protocols of training: everything that training depends on besides its data, frozen."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from mrunfold.errors import InputError, did_you_mean
from mrunfold.protocols.measurements import Frozen, Measurements, Sizes
from mrunfold.protocols.peers import PeerSpec
from mrunfold.protocols.sd import SdSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "Degradations",
    "ImageSet",
    "NetworkSpec",
    "PriorSpec",
    "Splits",
    "TrainingProtocol",
    "load_protocol",
    "protocol_names",
    "read_toml",
]

FOLDER = Path(__file__).parent
MAX_BYTES = 16_000_000


Width = Annotated[int, Field(ge=1, le=4096)]


class ImageSet(Frozen):
    """A set of training images: files below the data folder, how they are read, how often they are drawn.

    "leaves" are made, not read, and have no pattern; "kspace" are raw multicoil scans, fully sampled, which
    are undersampled instead of simulated, "acquired" such scans as they are, undersampled or not, for
    `Splits`.  held_back: patterns of files, below the data folder,
    that are kept from training to measure on: whole subjects.
    """

    pattern: str = ""
    reader: Literal[
        "nifti", "nifti-all-axes", "mat", "npz", "labels", "heads", "fastmri", "kspace", "acquired", "photo",
        "leaves",
    ]  # fmt: skip
    weight: float = Field(gt=0)
    licence: str
    least_content: float = 0.1
    held_back: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _files_or_none(self) -> ImageSet:
        if bool(self.pattern) == (self.reader == "leaves"):
            raise ValueError("images need a pattern of files, but for the reader leaves, which has none")
        return self


class PriorSpec(Frozen):
    """The network R_θ, see mrunfold.networks.prior.Prior.

    architecture: None for that network, else the name that an installed package gives its prior (entry points
    `mrunfold.priors`), which is called with `options`; of the other fields only `kind` counts then.
    """

    kind: Literal["complex", "real"] = "complex"
    channels: int = Field(default=1, ge=1, le=16)
    widths: tuple[Width, ...] = Field(default=(48, 80, 128), min_length=1, max_length=8)
    blocks: int = Field(default=2, ge=0, le=64)
    fold: int = Field(default=2, ge=1, le=8)
    # No module:Class: weights carry this text, and a file of weights must not choose what is run.
    architecture: str | None = Field(default=None, pattern=r"^[0-9A-Za-z_.-]{1,60}$")
    options: dict[str, bool | int | float | str] | None = None


class NetworkSpec(Frozen):
    """The unrolled network, see mrunfold.networks.posterior.PosteriorDenoiser.

    x0_has_noise: what is asked for holds the noise that a fully sampled measurement would have had; passes:
    evaluations of the mean at most, 1 for None; sigma_y_min: the least noise level that training shows;
    spread: factor of the draws' distance from the mean, found on subjects held back, 1 for None.
    """

    blocks: int = Field(ge=1, le=256)
    shared: bool
    cg_iterations: int = Field(default=4, ge=1, le=1000)
    start_iterations: int = Field(default=8, ge=1, le=1000)
    x0_has_noise: bool = False
    passes: int | None = Field(default=None, ge=1)
    sigma_y_min: float | None = Field(default=None, gt=0)
    spread: float | None = Field(default=None, gt=0)
    prior: PriorSpec = PriorSpec()


class Stage(Frozen):
    """One stage of training; sizes are image heights and widths drawn between the two.

    The learning rate climbs for `warmup` steps, stays, and falls to `final_fraction` of itself by a cosine
    over the last `cooldown` share of the steps; ema: decay of the averaged weights a step; clip: norm of the
    gradient; checkpointing: blocks are computed again in the backward pass instead of stored (stage two);
    loss: of stage two, "rms" or "relative", see mrunfold.training.stages.UnfoldStage;
    optimiser: "muon" for convolutions, with Adam at `levels_rate` for the network of the levels, or "adam";
    minutes: of the training loop on one process; where they are given they end the stage, the learning rate
    falls by the share of them that has passed, and `steps` is not looked at;
    samples_stay: the loss of a mean is that of the image in use, with its measured samples put back.
    """

    steps: int = Field(default=0, ge=0)
    batch: int = Field(ge=1)
    sizes: Sizes
    learning_rate: float = Field(gt=0)
    optimiser: Literal["adam", "muon"] = "adam"
    loss: Literal["rms", "relative"] = "rms"
    levels_rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=200, ge=1)
    cooldown: float = Field(default=0.5, gt=0, le=1)
    final_fraction: float = Field(default=0.05, gt=0, le=1)
    ema: float = Field(default=0.998, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    checkpointing: bool = False
    minutes: float | None = Field(default=None, gt=0)
    samples_stay: bool | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> Stage:
        if self.steps < 1 and self.minutes is None:
            raise ValueError("a stage has steps, at least 1, or minutes")
        return self


class Splits(Frozen):
    """Training without ground truth: how the acquired samples of a scan are split, as SSDU does.

    shares: of the samples outside the calibration region, how many the network is not given and has to
    predict; each item draws one of them.
    """

    shares: tuple[Annotated[float, Field(gt=0, lt=0.5)], ...] = Field(default=(0.2, 0.3, 0.4), min_length=1)


Task = Literal["denoise", "gaussian", "motion", "downsample", "box", "random", "strokes", "sensing", "grey"]


class Degradations(Frozen):
    """What degraded photographs are drawn from, every item by itself; ranges are drawn log-uniformly.

    tasks: how often each is drawn; sigma_y_usual: noise of a `usual_fraction` of the items, sigma_y that of
    the others, sigma_y_denoise that of denoising; grey: share of images without colour; zoom: images are made
    smaller to this share in `zoomed` of the draws; dropout: share of items of which nothing is measured;
    real_borders: share of blurs that go beyond the border, as a camera's do, while the operator takes it for
    replicated; misjudged: share of blurs whose operator has a slightly wrong kernel.
    """

    tasks: dict[Task, float]
    sigma_y: tuple[float, float] = (0.002, 0.1)
    sigma_y_usual: tuple[float, float] = (0.005, 0.05)
    usual_fraction: float = Field(default=0.8, ge=0, le=1)
    sigma_y_denoise: tuple[float, float] = (0.005, 0.2)
    sigma_t: tuple[float, float] = (0.005, 2.0)
    mean_fraction: float = Field(default=0.6, ge=0, le=1)
    dropout: float = Field(default=0.05, ge=0, le=1)
    real_borders: float = Field(default=0.3, ge=0, le=1)
    misjudged: float = Field(default=0.15, ge=0, le=1)
    grey: float = Field(default=0.12, ge=0, le=1)
    zoom: tuple[float, float] = (0.5, 1.0)
    zoomed: float = Field(default=0.4, ge=0, le=1)


class TrainingProtocol(Frozen):
    """Everything that training depends on besides the data folder.

    degradations: for photographs; then `measurements`, which are of MRI, have no part in it; peer: the
    network of others that `unfold_stage` trains in place of ours; it has neither `network` nor `prior_stage`.
    Without `prior_stage` stage two of ours begins from nothing.  splits: scans are trained on without
    ground truth, of the ranges of `measurements` only that of the coils counts; sd: the head of standard
    deviations, None for `SdSpec()`.
    """

    name: str
    seed: int
    images: tuple[ImageSet, ...]
    network: NetworkSpec | None = None
    prior_stage: Stage | None = None
    unfold_stage: Stage
    measurements: Measurements = Measurements()
    degradations: Degradations | None = None
    noise_levels: tuple[float, float] = (0.003, 1.0)
    peer: PeerSpec | None = None
    splits: Splits | None = None
    sd: SdSpec | None = None

    @model_validator(mode="after")
    def _splits_are_of_scans(self) -> TrainingProtocol:
        acquired = {images.reader == "acquired" for images in self.images}
        if acquired != {self.splits is not None}:
            raise ValueError('[splits] and images with reader = "acquired" go together, all images or none')
        m = self.measurements
        unused = {
            "prior_stage": self.prior_stage is not None,
            "degradations": self.degradations is not None,
            "peer": self.peer is not None,
            "measurements.scanner": m.scanner is not None,
            "measurements.blind": m.blind is not None,
            "measurements.fed_back": m.fed_back is not None,
            "measurements.mean_fraction below 1": m.mean_fraction < 1,
            "measurements.dropout above 0": m.dropout > 0,
            "unfold_stage.samples_stay": bool(self.unfold_stage.samples_stay),
        }
        found = [name for name, there in unused.items() if there]
        if self.splits is not None and found:
            raise ValueError(f"training without ground truth has no use for {', '.join(found)}; leave it out")
        return self

    @model_validator(mode="after")
    def _images_are_of_one_kind(self) -> TrainingProtocol:
        photos = self.degradations is not None
        if self.network is None:
            self._is_of_a_peer()
            return self
        if photos and any(s.reader != "photo" for s in self.images):
            raise ValueError('degradations are of photographs: images need reader = "photo"')
        if (self.network.prior.kind == "real") != photos or (photos and self.network.prior.channels != 3):
            raise ValueError('photographs need a prior of kind "real" with 3 channels, MRI a "complex" one')
        if self.unfold_stage.samples_stay and not self.network.x0_has_noise:
            raise ValueError("samples_stay needs an x₀ with its noise: set network.x0_has_noise too")
        if self.peer is not None:
            raise ValueError("a [peer] takes the place of [network]; leave one of them out")
        return self

    def _is_of_a_peer(self) -> None:
        """Refuse what the networks of others have no use for: it would look as if it counted."""
        if self.peer is None:
            raise ValueError("a protocol has a [network], or the [peer] that is trained in its place")
        m = self.measurements
        unused = {
            "prior_stage": self.prior_stage is not None,
            "degradations": self.degradations is not None,
            "noise_levels": "noise_levels" in self.model_fields_set and self.noise_levels != (0.003, 1.0),
            "measurements.blind": m.blind is not None,
            "measurements.fed_back": m.fed_back is not None,
            "measurements.mean_fraction below 1": m.mean_fraction < 1,
            "measurements.dropout above 0": m.dropout > 0,
            "unfold_stage.optimiser muon": self.unfold_stage.optimiser == "muon",
            "unfold_stage.checkpointing": self.unfold_stage.checkpointing,
            "unfold_stage.samples_stay": bool(self.unfold_stage.samples_stay),
        }
        found = [name for name, there in unused.items() if there]
        if found:
            raise ValueError(f"the network {self.peer.kind} has no use for {', '.join(found)}; leave it out")
        if m.scanner is None or any(s.reader == "kspace" for s in self.images):
            raise ValueError("a [peer] is trained on simulated scans: it needs [measurements.scanner]")

    def with_steps(self, **steps: int | None) -> TrainingProtocol:
        """Return the protocol with other numbers of steps of its stages, prior and unfold; None keeps one."""
        return self._with("steps", steps)

    def with_minutes(self, **minutes: float | None) -> TrainingProtocol:
        """Return the protocol with stages of so many minutes, prior and unfold; None keeps a stage's own."""
        return self._with("minutes", minutes)

    def _with(self, field: str, values: Mapping[str, float | None]) -> TrainingProtocol:
        stages = {f"{stage}_stage": value for stage, value in values.items() if value is not None}
        changed = {}
        for name, value in stages.items():
            stage = getattr(self, name)
            if stage is not None:
                changed[name] = stage.model_copy(update={field: value})
        return self.model_copy(update=changed)

    def digest(self) -> str:
        """Return the sha256 of the protocol's content, whatever the layout of its file."""
        # None is left out: protocols that are older than an optional part keep their digests.
        return hashlib.sha256(self.model_dump_json(exclude_none=True).encode()).hexdigest()


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def read_toml(file: Path) -> dict[str, Any]:
    """Return what a TOML file of at most 16 MB holds; InputError where it is none, or nested too deep."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"protocol {file.name} has more than {MAX_BYTES // 10**6} MB; it is none")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"protocol {file.name} is not TOML: {error}; mend that line") from error
    except RecursionError:
        raise InputError(f"protocol {file.name} is nested too deep for a protocol; mend it") from None


def protocol_names() -> list[str]:
    """Return the names of the protocols of training that ship; those of reconstruction end in .recon.toml."""
    return sorted(p.stem for p in FOLDER.glob("*.toml") if not p.stem.endswith(".recon"))


def load_protocol(name_or_file: str) -> TrainingProtocol:
    """Read a shipped protocol by name, or a TOML file by path."""
    file = Path(name_or_file)
    if file.suffix != ".toml":
        file = FOLDER / f"{name_or_file}.toml"
    if not file.is_file():
        raise InputError(
            f"no protocol {name_or_file}{did_you_mean(Path(name_or_file).stem, protocol_names())}"
        )
    try:
        return TrainingProtocol(**read_toml(file))
    except ValidationError as error:
        raise InputError(f"protocol {file.name} does not hold: {_reason(error)}; mend that line") from error
