"""Frames: images of the same places at another time, echo or weighting, and what each of them is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["COUNTERS", "TIME", "VALUES", "Frames", "Label", "frame_words", "frames_words"]

Label = Mapping[str, float]

# Counters of raw files, from 0; those of TIME count along time, `contrast` counts echoes or weightings.
COUNTERS = ("repetition", "phase", "set", "diffusion", "contrast", "frame")
TIME = ("repetition", "phase", "frame")
# What a frame may have of its own: name, words and unit.
VALUES = {
    "TE_ms": ("TE", "ms"),
    "TI_ms": ("TI", "ms"),
    "TR_ms": ("TR", "ms"),
    "flip_deg": ("flip angle", "°"),
    "b_s_mm2": ("b", "s/mm²"),
    "trigger_ms": ("trigger", "ms"),
    "time_s": ("time", "s"),
}
SAME_STEP = 0.02  # frames may be so unequally spaced in time
MOST_SAID = 8  # values of a list in words


@dataclass(frozen=True)
class Frames:
    """Which frame and which place each image of a scan is of.

    labels: of each frame, COUNTERS that tell frames apart and VALUES that are the frame's own, nothing else;
    frame, place: of each image, both counted from 0, so that images of one place lie at the same position.
    """

    labels: tuple[dict[str, float], ...]
    frame: tuple[int, ...]
    place: tuple[int, ...]

    def __post_init__(self) -> None:
        allowed = {*COUNTERS, *VALUES}
        if any(set(label) - allowed for label in self.labels):
            raise ValueError(f"labels of frames are {sorted(allowed)}")
        if len(self.frame) != len(self.place) or not set(self.frame) <= set(range(len(self.labels))):
            raise ValueError("each image has a frame, one of the labelled, and a place")

    @classmethod
    def grid(cls, labels: Sequence[dict[str, float]], places: int) -> Frames:
        """Return the frames of images (frame, place), one frame after another, none missing."""
        every = range(len(labels))
        frame = tuple(f for f in every for _ in range(places))
        return cls(tuple(labels), frame, tuple(p for _ in every for p in range(places)))

    @property
    def places(self) -> int:
        """How many places there are."""
        return max(self.place) + 1

    def of(self, frames: Iterable[int], places: Iterable[int]) -> list[int]:
        """Return the images of these frames and places, frame after frame; what is missing is left out."""
        at = {pair: image for image, pair in enumerate(zip(self.frame, self.place, strict=True))}
        listed = list(places)
        return [at[f, p] for f in frames for p in listed if (f, p) in at]

    def take(self, images: Sequence[int]) -> Frames:
        """Return the frames of some images; places keep their numbers, frames are counted anew."""
        kept = sorted({self.frame[i] for i in images})
        number = {frame: n for n, frame in enumerate(kept)}
        return Frames(
            tuple(self.labels[f] for f in kept),
            tuple(number[self.frame[i]] for i in images),
            tuple(self.place[i] for i in images),
        )

    def step_s(self, frames: Sequence[int]) -> float | None:
        """Return the seconds from each of some frames to the next, None where they are none or differ."""
        for name, unit in (("time_s", 1.0), ("trigger_ms", 1e-3)):
            times = [self.labels[frame].get(name) for frame in frames]
            known = [time * unit for time in times if time is not None]
            steps = [later - earlier for earlier, later in pairwise(known)]
            if len(known) < len(times) or not steps or min(steps) <= 0:
                continue
            if max(steps) - min(steps) <= SAME_STEP * min(steps):
                return round(sum(steps) / len(steps), 6)
        return None

    def counters(self) -> dict[str, list[int]]:
        """Return the values of each counter that tells frames apart, rising."""
        found = {name: sorted({int(la[name]) for la in self.labels if name in la}) for name in COUNTERS}
        return {name: values for name, values in found.items() if len(values) > 1}


def frame_words(label: Label) -> str:
    """Return what a frame is called: "repetition 3, time 12.5 s"."""
    counted = [f"{name} {int(label[name])}" for name in COUNTERS if name in label]
    return ", ".join(counted + [_valued(name, label[name]) for name in VALUES if name in label])


def _valued(name: str, value: float) -> str:
    words, unit = VALUES[name]
    return f"{words} {value:.6g}{'' if unit == '°' else ' '}{unit}"


def frames_words(frames: Frames) -> str:
    """Return what the frames of a scan are: "6: 2 repetitions, 3 contrasts; TE 5, 10, 15 ms"."""
    counted = [f"{len(values)} {name}s" for name, values in frames.counters().items()]
    parts = [f"{len(frames.labels)}" + (f": {', '.join(counted)}" if counted else "")]
    for name, (words, unit) in VALUES.items():
        values = sorted({label[name] for label in frames.labels if name in label})
        if values:
            said = ", ".join(f"{value:.6g}" for value in values[:MOST_SAID])
            more = ", …" if len(values) > MOST_SAID else ""
            parts.append(f"{words} {said}{more}{'' if unit == '°' else ' '}{unit}")
    return "; ".join(parts)
