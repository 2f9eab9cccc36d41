"""What a restoration gives: the images, their noise, scores and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """A restored photograph: images float32 (channel, y, x), 1 channel if the photograph is grey.

    degraded: what it was restored from; std: of the samples, or None; samples: (draw, channel, y, x) or None;
    truth: of a simulation; sigma_y: noise, `estimated` or given; scores: of a simulation; files: what was
    written; record: what the run log says.
    """

    degraded: np.ndarray
    restored: np.ndarray
    sigma_y: float
    estimated: bool
    std: np.ndarray | None = None
    samples: np.ndarray | None = None
    truth: np.ndarray | None = None
    scores: dict[str, float] | None = None
    files: tuple[Path, ...] = ()
    record: dict[str, Any] | None = None
