"""What the frames of sorted acquisitions are called: their counters, and what headers say of each."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mrunfold.io.encoding import Encoding
from mrunfold.io.frames import Frames
from mrunfold.io.mrd_heads import VOLUME

__all__ = ["frames_of"]

SIEMENS_TICK_MS = 2.5
TICKS_MS = (1.0, 2.5)  # what writers count acquisition time in
NEAR_TR = 0.1  # of TR, and a tick: the time between lines of an image that makes a unit certain
# Which counters settings of several values may belong to.
OWNERS = {
    "TE_ms": ("contrast",),
    "TI_ms": ("contrast", "set", "repetition"),
    "flip_deg": ("contrast", "set", "repetition"),
    "TR_ms": ("contrast", "set", "repetition"),
}

Keys = list[tuple[int, ...]]


class Sorted(Protocol):
    """Acquisitions by image: numbers of all that are used, the image of each, and counters of the images."""

    @property
    def order(self) -> np.ndarray: ...

    @property
    def which(self) -> np.ndarray: ...

    @property
    def labels(self) -> tuple[dict[str, int], ...]: ...

    def of_slice(self, index: int) -> np.ndarray:
        """Return the numbers of one image's acquisitions."""


def frames_of(
    lines: Sorted, heads: dict[str, np.ndarray], encoding: Encoding
) -> tuple[Frames | None, tuple[str, ...]]:
    """Return the frames of the images of `lines`, None where there is one, and notes on what they are called.

    heads: of all acquisitions.  A setting of which the header has several values is that of the counter that
    has as many; echo times are those of contrasts.  Times are those since the first frame.
    """
    images: Keys = [tuple(label[name] for name in VOLUME) for label in lines.labels]
    keys: Keys = sorted(set(images))
    if len(keys) == 1:
        return None, ()
    values = {name: sorted({key[i] for key in keys}) for i, name in enumerate(VOLUME)}
    varying = [name for name in VOLUME if len(values[name]) > 1]
    labels: list[dict[str, float]] = [{name: key[VOLUME.index(name)] for name in varying} for key in keys]
    notes = _settings(labels, values, encoding)
    frame = tuple(keys.index(key) for key in images)
    notes += _times(labels, frame, lines, heads, encoding)
    slices = sorted({label["slice"] for label in lines.labels})
    place = tuple(slices.index(label["slice"]) for label in lines.labels)
    return Frames(tuple(labels), frame, place), notes


def _settings(
    labels: list[dict[str, float]], values: dict[str, list[int]], encoding: Encoding
) -> tuple[str, ...]:
    """Give each label what the header says of its counters, and return notes on it."""
    notes: list[str] = []
    for key, listed in encoding.lists.items():
        fits = [
            name
            for name in OWNERS[key]
            if len(values[name]) > 1
            and values[name][-1] < len(listed)
            and (key == "TE_ms" or len(values[name]) == len(listed))
        ]
        if len(fits) == 1:
            _give(labels, key, fits[0], listed)
    if len(values["contrast"]) > 1 and not any("TE_ms" in label for label in labels):
        notes.append(
            "the file holds several contrasts: no echo time is written, only the first one's is known"
        )
    if encoding.diffusion is not None:
        counter, weightings = encoding.diffusion
        counter = counter if counter in VOLUME else "diffusion"
        if len(values[counter]) > 1 and values[counter][-1] < len(weightings):
            _give(labels, "b_s_mm2", counter, weightings)
        elif len(values[counter]) > 1:
            notes.append(f"the header has {len(weightings)} b-values for more weightings: none is written")
    return tuple(notes)


def _give(labels: list[dict[str, float]], key: str, counter: str, listed: tuple[float, ...]) -> None:
    for label in labels:
        value = listed[int(label[counter])]
        if value > 0 or key == "b_s_mm2":
            label[key] = value


def _times(
    labels: list[dict[str, float]],
    frame: tuple[int, ...],
    lines: Sorted,
    heads: dict[str, np.ndarray],
    encoding: Encoding,
) -> tuple[str, ...]:
    """Give labels the time since the first repetition, and since the trigger of cardiac phases."""
    wanted = [name for name in ("repetition", "phase") if name in labels[0]]
    stamps, after = heads.get("acquisition_time_stamp"), heads.get("physiology_time_stamp")
    if not wanted or stamps is None or after is None or not stamps[lines.order].any():
        return ()
    tick = _tick_ms(lines, stamps, encoding)
    if tick is None:
        return ("the unit of the acquisitions' time stamps is not known: frames have no times",)
    of_frame = np.asarray(frame)[lines.which]
    if "repetition" in wanted:
        means = _means(stamps[lines.order], of_frame, labels, "repetition")
        if all(later > earlier for earlier, later in zip(means, list(means)[1:], strict=False)):
            first = min(means.values())
            for label in labels:
                label["time_s"] = round((means[label["repetition"]] - first) * tick / 1000, 4)
    if "phase" in wanted and after[lines.order, 0].any():
        means = _means(after[lines.order, 0], of_frame, labels, "phase")
        for label in labels:
            label["trigger_ms"] = round(means[label["phase"]] * tick, 3)
    return ()


def _means(
    stamps: np.ndarray, of_frame: np.ndarray, labels: list[dict[str, float]], counter: str
) -> dict[float, float]:
    """Return the mean stamp of all acquisitions of each value of a counter, in the order of values."""
    value = np.array([label[counter] for label in labels])[of_frame]
    return {float(one): float(stamps[value == one].mean()) for one in np.unique(value)}


def _tick_ms(lines: Sorted, stamps: np.ndarray, encoding: Encoding) -> float | None:
    """Return the unit of time stamps in ms: Siemens' own, else what puts lines a TR apart; or None."""
    if encoding.siemens:
        return SIEMENS_TICK_MS
    repetition = encoding.contrast.get("TR_ms")
    if not isinstance(repetition, float):
        return None
    steps = np.diff(np.sort(stamps[lines.of_slice(0)]))
    steps = steps[steps > 0]
    if not len(steps):
        return None
    step = float(np.median(steps))
    fits = [tick for tick in TICKS_MS if abs(step * tick - repetition) <= NEAR_TR * repetition + tick]
    return fits[0] if len(fits) == 1 else None
