"""What training simulates of scanners: coils, masks, noise, and what goes wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = ["Blind", "Frozen", "Large", "Measurements", "Scanner", "Sizes"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _a_range(sizes: tuple[int, int]) -> tuple[int, int]:
    if not 32 <= sizes[0] <= sizes[1]:
        raise ValueError(f"sizes are a range from 32 up, got {list(sizes)}")
    return sizes


Sizes = Annotated[tuple[int, int], AfterValidator(_a_range)]


class Blind(Frozen):
    """Batches without any measurement, A = 0: their share, the items in each, their sizes and noise levels.

    sigma_t has to reach far above the energy of an image's longest wave, the root of its number of pixels:
    a draw from the prior begins there, and below it pure noise looks like an empty image.
    """

    share: float = Field(gt=0, lt=1)
    batch: int = Field(ge=1)
    sizes: Sizes
    sigma_t: tuple[float, float]


class Large(Frozen):
    """Batches of larger matrices than the stage's: their share, the items in each, their sizes."""

    share: float = Field(gt=0, lt=1)
    batch: int = Field(ge=1)
    sizes: Sizes


Share = Annotated[float, Field(ge=0, le=1)]


class Scanner(Frozen):
    """What scanners and calibration do besides: each with its share of the draws, drawn by itself.

    coils: pattern of files with measured sensitivities, below the data folder; measured_coils: share that
    has them; one_sided: share of loops on one side only, they are all around otherwise;
    shading: share whose image is brighter near the coils, by a factor in shading_range;
    cut: objects that the edges of the field of view cut; folded: canvases up to fold_extent times as wide;
    bright: rims and spots as of fat, which set the 99th percentile;
    rescaled: share whose height is in heights, instead of 1;
    filtered: k-space under a window; zero_padded: within a box of zeros; partial_fourier: one side left out;
    correlated: noise that is not white over coils, whitened by an estimate of it;
    misjudged: σ_y told wrong by up to a factor misjudged_by; fat_shift: bright tissue moved along y;
    motion: displacements between lines; spikes: a few samples far too large; the target has neither;
    two_sets: share of batches with two sets of maps; uncropped: maps that no crop of ESPIRiT's cuts;
    map_errors: share of the maps that are not estimated: displaced, with wrong phases;
    off_resonance: share of scans whose phase turns quickly, by a field of about `off_resonance_phase`
    radians, as in gradient echoes of bodies.
    """

    coils: str = ""
    measured_coils: Share = 0.0
    one_sided: Share = 0.0
    shading: Share = 0.0
    shading_range: tuple[float, float] = (1.5, 30.0)
    cut: Share = 0.0
    folded: Share = 0.0
    fold_extent: float = Field(default=1.3, ge=1, le=2)
    bright: Share = 0.0
    rescaled: Share = 0.0
    heights: tuple[float, float] = (0.1, 4.0)
    filtered: Share = 0.0
    zero_padded: Share = 0.0
    partial_fourier: Share = 0.0
    correlated: Share = 0.0
    misjudged: Share = 0.0
    misjudged_by: float = Field(default=3.0, ge=1)
    fat_shift: Share = 0.0
    motion: Share = 0.0
    spikes: Share = 0.0
    two_sets: Share = 0.0
    uncropped: Share = 0.0
    map_errors: Share = 0.0
    off_resonance: Share = 0.0
    off_resonance_phase: tuple[float, float] = (1.5, 12.0)

    @model_validator(mode="after")
    def _measured_coils_have_files(self) -> Scanner:
        if (self.measured_coils > 0) != bool(self.coils):
            raise ValueError(
                "measured_coils need coils, a pattern of files with sensitivities, and the other way"
            )
        return self


class Measurements(Frozen):
    """What simulated measurements are drawn from: ranges are drawn log-uniformly, coils too.

    mean_fraction: share of items with σ_t = ∞; dropout: share without any measurement, A = 0; calibrated:
    share of multi-coil items whose maps are ESPIRiT's of the simulated samples, the true ones otherwise;
    blind: whole batches without any measurement, besides; large: whole batches of larger matrices; scanner:
    what is simulated beyond a mask and white noise; fed_back: share of the other batches whose items with
    σ_t = ∞ are trained as a further pass, see mrunfold.networks.posterior.PosteriorDenoiser, after 1 to
    `fed_back_passes` passes (None: after 1); points: share of the batches whose masks draw points, not lines
    (None: half);
    poisson: share of Poisson-disc masks among these (None: each kind as often).
    """

    accelerations: tuple[float, float] = (2.0, 12.0)
    coils: tuple[int, int] = (1, 16)
    sigma_y: tuple[float, float] = (0.002, 0.05)
    sigma_t: tuple[float, float] = (0.005, 2.0)
    mean_fraction: float = Field(default=0.6, ge=0, le=1)
    dropout: float = Field(default=0.04, ge=0, le=1)
    calibrated: float = Field(default=0.8, ge=0, le=1)
    blind: Blind | None = None
    large: Large | None = None
    scanner: Scanner | None = None
    fed_back: float | None = Field(default=None, ge=0, le=1)
    fed_back_passes: int | None = Field(default=None, ge=1)
    points: float | None = Field(default=None, ge=0, le=1)
    poisson: float | None = Field(default=None, ge=0, le=1)
