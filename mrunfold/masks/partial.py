"""Partial Fourier and asymmetric echoes: k-space of which one side was sampled farther than the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrunfold.errors import InputError

__all__ = ["AXES", "Partial", "partial_axes"]

AXES = ("readout", "phase")
GAPS = 2  # the widest of those between lines, by chance at the end of random ones too
AS_DENSE = 0.4  # of the share of lines that both sides have
LEAST_GAP = 2  # samples; an even number of them has one more before its centre than after it


@dataclass(frozen=True)
class Partial:
    """One axis of k-space that is sampled farther on one side of N//2 than on the other.

    axis: "readout" (an asymmetric echo) or "phase" (partial Fourier); fraction: how much of the extent that
    is symmetric about the centre was sampled; missing: the end, "first" or "last", that was not reached;
    reach: samples from the centre to the near end, which both sides have.
    """

    axis: str
    fraction: float
    missing: str
    reach: int

    @property
    def number(self) -> int:
        """Of the axis, among the last two: -2 for the readout, -1 for the phase."""
        return AXES.index(self.axis) - 2

    def __str__(self) -> str:
        what, parts = ("partial Fourier", "lines") if self.axis == "phase" else ("asymmetric echo", "samples")
        eighths = round(8 * self.fraction)
        about = f" (about {eighths}/8)" if abs(self.fraction - eighths / 8) < 0.01 else ""
        return (
            f"{what}: {100 * self.fraction:.1f} % of the {self.axis}{about}, the {self.missing} {parts} are "
            f"missing, {self.reach} on that side of the centre"
        )


def partial_axes(mask: np.ndarray) -> tuple[Partial, ...]:
    """Return the axes along which the samples of a mask, bool (readout, phase), reach farther on one side.

    An axis counts where its two sides differ by more than twice the widest gap between sampled lines, which
    undersampling leaves, and where what one side has more is sampled about as densely as what both have: the
    outermost lines of a random mask are no partial Fourier.
    """
    if mask.ndim != 2:
        raise InputError(f"partial sampling is sought in (readout, phase), got shape {mask.shape}")
    found = []
    for axis, name in enumerate(AXES):
        size, centre = mask.shape[axis], mask.shape[axis] // 2
        there = np.flatnonzero(mask.any(axis=1 - axis)) - centre
        if there.size < 2:
            continue
        before, after = -int(there[0]), int(there[-1])
        near, far = min(before, after), max(before, after)
        if near < 0 or far - near <= max(LEAST_GAP, GAPS * int(np.diff(there).max())):
            continue
        side = there if after > before else -there
        both, more = ((side > 0) & (side <= near)).sum() / max(near, 1), (side > near).sum() / (far - near)
        if more < AS_DENSE * both:
            continue
        whole = size if before == centre or after == size - 1 - centre else 2 * far + 1
        missing = "first" if before < after else "last"
        found.append(Partial(name, (near + far + 1) / whole, missing, near))
    return tuple(found)
