"""A sampling mask that knows what it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrunfold.errors import InputError

__all__ = ["Mask"]


@dataclass(frozen=True, eq=False)
class Mask:
    """Which k-space samples are kept, and how they were drawn.

    array: bool (readout, phase), read-only; kind: its name; asked: the acceleration asked for, None for
    what a file acquired; calibration: (readout, phase) size of the fully sampled centre; seed: what it
    was drawn with (an integer, or characters of a file name as fastMRI does), None if it draws nothing.
    """

    array: np.ndarray
    kind: str
    asked: float | None
    calibration: tuple[int, int]
    seed: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array, dtype=bool)
        if array.ndim != 2:
            raise InputError(f"a mask is (readout, phase), got {array.shape}; give one slice's mask")
        if not array.any():
            raise InputError(f"the {self.kind} mask of {array.shape} keeps no sample; lower the acceleration")
        array.flags.writeable = False
        object.__setattr__(self, "array", array)

    @property
    def shape(self) -> tuple[int, int]:
        return self.array.shape[0], self.array.shape[1]

    @property
    def delivered(self) -> float:
        """The actual acceleration: all samples over kept samples."""
        return self.array.size / int(self.array.sum())

    def __str__(self) -> str:
        actual = f"R={self.delivered:.2f} actual"
        asked = "as acquired, " if self.asked is None else f"R={self.asked:g} asked, "
        seed = self.seed if self.seed is None or isinstance(self.seed, int) else "of the file's name"
        size = f"{self.kind} mask {self.shape[0]}×{self.shape[1]}"
        text = f"{size}, {asked}{actual}, centre {self.calibration}"
        return text if seed is None else f"{text}, seed {seed}"
