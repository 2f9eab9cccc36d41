"""Phase-encoding lines by fastMRI's four rules, bit-equal to `fastmri.data.subsample` for the same seed.

Drawn here, so that masks need neither the package fastmri nor the torchvision and Lightning it requires; the
tests compare with that package.  NumPy freezes the numbers that a RandomState draws, so the masks stay.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from mrunfold.errors import InputError
from mrunfold.masks.base import Mask
from mrunfold.masks.grid import checked_accel, checked_seed, checked_shape, wanted_samples

__all__ = ["centre_lines", "equispaced", "equispaced_fraction", "magic", "random", "seed_from_name"]

Seed = int | Sequence[int]


def seed_from_name(name: str | PurePath) -> tuple[int, ...]:
    """Return the character codes of a file's name (its folder left out), which fastMRI seeds masks with.

    Every slice of a volume then has the same mask, and every run draws it again.
    """
    seed = tuple(map(ord, PurePath(name).name))
    if not seed:
        raise InputError(f"a seed from a name needs a file name, got {str(name)!r}")
    return seed


def random(
    shape: Sequence[int],
    accel: float,
    *,
    seed: Seed,
    calibration: int | None = None,
    center_fraction: float | None = None,
) -> Mask:
    """Draw each line outside the centre with the probability that gives `accel` on average.

    shape: (readout, phase); calibration: lines in the fully sampled centre, or center_fraction: the same as
    a fraction of the width, by default 0.32/accel (fastMRI's 0.08 at 4, 0.04 at 8).  The number of lines is
    random: see `delivered`.  InputError where the centre alone has more lines than the acceleration allows.
    fastMRI's RandomMaskFunc; Zbontar et al. 2018, arXiv:1811.08839.
    """
    return _fastmri("random", shape, accel, seed, calibration, center_fraction)


def equispaced(
    shape: Sequence[int],
    accel: float,
    *,
    seed: Seed,
    calibration: int | None = None,
    center_fraction: float | None = None,
) -> Mask:
    """Keep every accel-th line from a random offset, and the centre on top of them.

    Arguments as for `random`; the acceleration is an integer.  The centre is extra, so `delivered` is below
    what was asked.  fastMRI's EquiSpacedMaskFunc.
    """
    return _fastmri("equispaced", shape, accel, seed, calibration, center_fraction)


def equispaced_fraction(
    shape: Sequence[int],
    accel: float,
    *,
    seed: Seed,
    calibration: int | None = None,
    center_fraction: float | None = None,
) -> Mask:
    """Keep lines at a spacing widened so that, with the centre, `accel` is met.

    Arguments and errors as for `random`.  The spacing is not a whole number, so the lines are not quite
    equispaced (facebookresearch/fastMRI#54).  fastMRI's EquispacedMaskFractionFunc, the mask of its
    multicoil brain challenge.
    """
    return _fastmri("equispaced_fraction", shape, accel, seed, calibration, center_fraction)


def magic(
    shape: Sequence[int],
    accel: float,
    *,
    seed: Seed,
    calibration: int | None = None,
    center_fraction: float | None = None,
) -> Mask:
    """Keep every accel-th line, offset so that one half of k-space fills the gaps of the mirrored other.

    Arguments as for `random`; the acceleration is an integer, and `delivered` is below it.  fastMRI's
    MagicMaskFunc; Defazio 2019, arXiv:1912.01101.
    """
    return _fastmri("magic", shape, accel, seed, calibration, center_fraction)


def centre_lines(
    phase: int, accel: float, calibration: int | None, center_fraction: float | None
) -> tuple[int, float]:
    """Return the lines of the fully sampled centre and the fraction of the width that they are.

    InputError where both are given, or where they do not fit the width.
    """
    if calibration is not None and center_fraction is not None:
        raise InputError("give the centre as calibration (lines) or as center_fraction, not both")
    if calibration is not None:
        try:
            lines = operator.index(calibration)
        except TypeError:
            raise InputError(f"calibration is a number of lines for this mask, got {calibration!r}") from None
        fraction = lines / phase
    else:
        fraction = 0.32 / accel if center_fraction is None else float(center_fraction)
        if not 0 <= fraction <= 1:
            raise InputError(f"center_fraction is from 0 to 1, got {fraction:g}")
        lines = round(phase * fraction)
    if not 0 <= lines <= phase:
        raise InputError(f"a centre of {lines} lines does not fit a width of {phase}; give fewer lines")
    return lines, fraction


def _fastmri(
    kind: str,
    shape: Sequence[int],
    accel: float,
    seed: Seed,
    calibration: int | None,
    center_fraction: float | None,
) -> Mask:
    """Draw by the rule `kind`, with a RandomState of its own: NumPy's global one is not touched."""
    readout, phase = checked_shape(shape)
    accel = checked_accel(accel)
    seed = checked_seed(seed)
    wanted_samples(phase, accel, "line")
    lines, _ = centre_lines(phase, accel, calibration, center_fraction)
    if kind in ("equispaced", "magic") and not accel.is_integer():
        raise InputError(
            f"the {kind} mask takes a whole-number acceleration, got {accel:g}; try {round(accel)}"
        )
    # fastMRI divides by phase/accel − lines here, or silently keeps the centre alone.
    if kind in ("random", "equispaced_fraction") and lines * accel >= phase and lines < phase:
        reach = f"below {phase / lines:.4g}"
        raise InputError(
            f"a centre of {lines} lines of {phase} leaves none for a {kind} mask at acceleration {accel:g}; "
            f"with this centre it reaches accelerations {reach}: lower either"
        )
    if lines == phase:
        return Mask(np.ones((readout, phase), bool), kind, accel, (readout, phase), seed)

    rng = np.random.RandomState(seed)
    if kind == "random":
        # The probability for which, with the centre, phase/accel lines are expected.
        line = rng.uniform(size=phase) < (phase / accel - lines) / (phase - lines)
    elif kind == "equispaced":
        line = np.arange(phase) % int(accel) == rng.randint(int(accel))
    elif kind == "equispaced_fraction":
        line = _spaced(rng, phase, accel, lines)
    else:
        line = _mirrored(phase, int(accel), rng.randint(int(accel)))
    start = (phase - lines + 1) // 2
    line[start : start + lines] = True
    return Mask(np.broadcast_to(line, (readout, phase)), kind, accel, (readout, lines), seed)


def _spaced(rng: np.random.RandomState, phase: int, accel: float, lines: int) -> np.ndarray:
    """Return bool (phase,): lines nearest to positions with the spacing that pays for the centre."""
    spacing = accel * (phase - lines) / (phase - lines * accel)
    positions = np.arange(rng.randint(round(spacing)), phase - 1, spacing)
    line = np.zeros(phase, bool)
    line[np.around(positions).astype(int)] = True
    return line


def _mirrored(phase: int, accel: int, offset: int) -> np.ndarray:
    """Return bool (phase,): every accel-th line of either half, shifted against each other.

    The halves are counted from the ends of the array: this is the order before fftshift.
    """
    first, second = (offset + 1, offset + 2) if offset % 2 == 0 else (offset + 2, offset - 1)
    positive, negative = np.zeros((phase + 1) // 2, bool), np.zeros(phase // 2, bool)
    positive[first::accel] = negative[second::accel] = True
    return np.fft.fftshift(np.concatenate([positive, negative[::-1]]))
