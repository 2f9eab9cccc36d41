"""Noise and coil maps that all frames of a place share, kept for as long as the place is worked on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mrunfold.coils.together import Together
from mrunfold.io.frames import TIME
from mrunfold.io.scan import Header, Scan
from mrunfold.masks import Mask
from mrunfold.pipeline.own import OwnParts
from mrunfold.pipeline.settings import ReconSettings
from mrunfold.pipeline.units import in_units, unit_of
from mrunfold.prepare import ProblemSettings, find_shared
from mrunfold.prepare_trajectory import find_shared_along

__all__ = ["Shared", "by_place", "place_of"]

MOST = 8  # frames that noise and maps come from, spread over all of them: more add reading, hardly precision


def place_of(header: Header, index: int) -> int:
    """Return the slice within its frame that an image is of."""
    return index if header.frames is None else header.frames.place[index]


def by_place(header: Header, indices: Sequence[int]) -> list[int]:
    """Return the order in which images are worked on: all frames of a place before the next."""
    return sorted(range(len(indices)), key=lambda number: (place_of(header, indices[number]), number))


@dataclass
class Shared:
    """Finds what frames share, and keeps that of one place: (place, what was found, in which unit)."""

    kept: tuple[int, Together | None, float] | None = field(default=None, repr=False)

    def of(
        self,
        index: int,
        scan: Scan,
        settings: ReconSettings,
        how: ProblemSettings,
        drawn: Mask | None,
        own: OwnParts,
        noise: np.ndarray | None,
        unit: float,
    ) -> Together | None:
        """Return what image `index` shares with the frames of its place, its samples divided by `unit`.

        None where it is alone, where frames are to be by themselves, where lines of their own calibrate it,
        and for maps by SigPy, which knows one frame.  how: settings in units of the file; noise: the scan's.
        """
        frames = scan.header.frames
        if frames is None or settings.per_frame or how.espirit.backend == "sigpy":
            return None
        alike = [image for image, place in enumerate(frames.place) if place == frames.place[index]]
        if len(alike) < 2 or scan.calibration(index) is not None:
            return None
        if self.kept is None or self.kept[0] != frames.place[index]:
            some = [alike[i] for i in np.unique(np.linspace(0, len(alike) - 1, MOST).astype(int))]
            common = max(unit_of(scan.kspace(image)) for image in some)
            given: dict[str, Any] = {
                "noise": in_units(noise, common),
                "settings": how.times(1 / common),
                "with_maps": own.maps is None,
            }
            if scan.trajectory(index) is None:
                found = find_shared(_pieces(scan, some, common), scan.header, drawn, **given)
            else:
                mask = None if drawn is None else drawn.array
                given["alike"] = set(frames.counters()) <= set(TIME)
                found = find_shared_along(_along(scan, some, common), mask, scan.header.crop, **given)
            if found is not None:
                found.record["frames"] = [frames.frame[image] for image in some]
            self.kept = frames.place[index], found, common
        _, found, common = self.kept
        ratio = scan.noise_ratio(index) if settings.noise is None else 1.0
        return None if found is None else found.louder(ratio * common / unit)


def _along(
    scan: Scan, images: Sequence[int], unit: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for image in images:
        trajectory = scan.trajectory(image)
        assert trajectory is not None
        yield in_units(scan.kspace(image), unit), scan.acquired(image), trajectory


def _pieces(scan: Scan, images: Sequence[int], unit: float) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    for image in images:
        yield in_units(scan.kspace(image), unit), scan.acquired(image), scan.noise_ratio(image)
