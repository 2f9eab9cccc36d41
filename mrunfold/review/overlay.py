"""How far samples disagree, relative to the signal around, and windows that readers know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["FLOOR", "OBJECT", "SIDE", "Overlay", "presets", "relative_spread"]

# The page divides by the same rule, in `assets/volumes.js`: only what follows is in it.
SIDE = 5  # pixels: the signal around is the mean of a square of this side
FLOOR = 0.05  # of the window: below it there is no signal to be relative to
OBJECT = 0.15  # of the window: what lies above is of the object
SHOWN = 95.0  # percentile of the object above which the overlay begins: the highest 5 %
TOP = 99.9


@dataclass(frozen=True)
class Overlay:
    """Standard deviation over the signal around it (slice, readout, phase); threshold: where it begins to be
    shown; top: where its colours end."""

    volume: np.ndarray
    threshold: float
    top: float


def relative_spread(std: np.ndarray, image: np.ndarray, window: float) -> Overlay:
    """Return the overlay of std and image, both (slice, readout, phase); window: what is shown white."""
    from scipy.ndimage import uniform_filter

    around = uniform_filter(image.astype(np.float32), size=(1, SIDE, SIDE))
    volume = std / np.maximum(around, FLOOR * window)
    volume[around < OBJECT * window] = 0  # air: a ratio of noise and noise
    inside = volume[around > OBJECT * window]
    if not inside.size or not inside.max() > 0:
        return Overlay(volume, 0.0, 0.0)
    threshold, top = np.percentile(inside, [SHOWN, TOP])
    return Overlay(np.minimum(volume, top), float(threshold), float(max(top, threshold)))


def presets(image: np.ndarray, window: float) -> dict[str, tuple[float, float]]:
    """Return windows (black, white) by name, of the image (slice, readout, phase) as opened with `window`."""
    found = {"as opened": (0.0, window)}
    inside = image[image > OBJECT * window]
    if inside.size:
        low, middle, high, top = (float(v) for v in np.percentile(inside, [5, 50, 98, 99.9]))
        found["brain"] = (low / 2, high)
        found["body"] = (0.0, max(1.5 * middle, high))
        found["percentiles 5 to 98"] = (low, high)
        found["whole range"] = (0.0, top)
    return {name: (low, high) for name, (low, high) in found.items() if high > low}
