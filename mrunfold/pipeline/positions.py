"""Readout positions of a 3-D scan that are done, a file each, until the images are made of them all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.export.record import plain
from mrunfold.io.atomic import atomic_path

__all__ = ["Positions", "Said"]

ABOUT = "about"


@dataclass(frozen=True)
class Said:
    """What is known of a position: its record, its flags, and whether it has a target."""

    record: dict[str, Any]
    flags: tuple[str, ...]
    with_target: bool


class Positions:
    """A folder of NUMBER.npz; each appears whole, so that a run that was stopped can go on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder = folder

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.npz"

    def save(self, index: int, arrays: Mapping[str, np.ndarray], said: Said) -> None:
        """Write what was reconstructed at a position; InputError or OSError where the disk refuses."""
        about = np.frombuffer(json.dumps(plain(vars(said))).encode(), np.uint8)
        packed: dict[str, Any] = {**arrays, ABOUT: about}
        with atomic_path(self._path(index)) as part, open(part, "wb") as file:
            np.savez(file, **packed)

    def said(self, index: int) -> Said | None:
        """Return what is known of a position that is done, None where it is not, or its file is damaged."""
        try:
            with zipfile.ZipFile(self._path(index)) as packed:
                if packed.testzip() is not None:  # each array has a checksum
                    return None
            with np.load(self._path(index), allow_pickle=False) as file:
                found = json.loads(file[ABOUT].tobytes())
        except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError):
            return None
        return Said(found["record"], tuple(found["flags"]), found["with_target"])

    def names(self, index: int) -> list[str]:
        """Return the names of the arrays of a position."""
        with np.load(self._path(index), allow_pickle=False) as file:
            return [name for name in file.files if name != ABOUT]

    def load(self, index: int, name: str) -> np.ndarray:
        """Return an array of a position."""
        with np.load(self._path(index), allow_pickle=False) as file:
            return np.asarray(file[name])

    def across(self, indices: Sequence[int], name: str, partitions: Sequence[int]) -> np.ndarray:
        """Return an array of all positions (…, phase, partition), as (partition, …, readout, phase).

        Leading axes may differ in length (map sets): the longest holds, and the rest is zero.
        """
        picked: list[np.ndarray] = []
        for index in indices:
            one = self.load(index, name)[..., list(partitions)]
            picked.append(np.moveaxis(one, -1, 0))  # (partition, …, phase)
        longest = tuple(max(one.shape[axis] for one in picked) for axis in range(picked[0].ndim))
        found = np.zeros((*longest[:-1], len(indices), longest[-1]), picked[0].dtype)
        for place, one in enumerate(picked):
            part: Any = (*(slice(0, n) for n in one.shape[:-1]), place)
            found[part] = one
        return found
