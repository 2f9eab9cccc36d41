"""One measurement of a twix file: its readouts, with noise lines of an earlier measurement behind them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.twix_file import Measurement, TwixFile, flag
from mrunfold.io.twix_heads import heads_of, is_image, slice_numbers
from mrunfold.io.twix_protocol import Protocol

__all__ = ["TwixReadouts"]


class TwixReadouts:
    """Readouts of a measurement: mdh as twixtools names its fields, heads as ISMRMRD's (`read_heads`).

    measurement: which of a multi-raid file's, counted from 1; None: the last that has images.  Noise lines
    are those of the measurement itself, else of the last one before it that has some of the same coils.
    notes: what there is to say of both.  Raises InputError for a damaged file and one without images.
    """

    def __init__(self, path: Path, measurement: str | None = None) -> None:
        self.path = path
        self._file = TwixFile(path)
        try:
            self._open(measurement)
        except BaseException:
            self._file.close()
            raise

    def _open(self, measurement: str | None) -> None:
        count = len(self._file.extents)
        which, images = self._chosen(measurement)
        self.protocol = Protocol(self.path, images.protocol)
        self.mdh = images.mdh
        self.heads = heads_of(images.mdh, self.protocol)
        self.heads["idx.slice"] = slice_numbers(self.heads, self.protocol, is_image(images.mdh))
        self._parts = [images]
        self._starts = np.array([0, len(images)])
        self.notes: list[str] = []
        if count > 1:
            self.notes.append(
                f"the file holds {count} measurements: {which + 1} is read; --measurement chooses"
            )
        if not flag(images.mdh["EvalInfoMask"], "NOISEADJSCAN").any():
            self._borrow_noise(which)

    def _chosen(self, wanted: str | None) -> tuple[int, Measurement]:
        """Return the number, from 0, and the measurement to read."""
        count = len(self._file.extents)
        known = wanted is None or (re.fullmatch(r"[0-9]{1,3}", wanted) and 1 <= int(wanted) <= count)
        if not known:
            raise InputError(f"{self.path}: no measurement {str(wanted)[:40]!r}; it holds 1 to {count}")
        for which in reversed(range(count)) if wanted is None else [int(wanted) - 1]:
            found = self._file.measurement(which)
            if is_image(found.mdh).any():
                return which, found
        where = f"none of its {count} measurements has" if wanted is None else f"measurement {wanted} lacks"
        raise InputError(f"{self.path}: {where} readouts of an image; choose another measurement or file")

    def _borrow_noise(self, which: int) -> None:
        """Append noise lines of an earlier measurement to the headers, and remember where they lie."""
        images = self._parts[0]
        first = int(np.flatnonzero(is_image(images.mdh))[0])
        coils = self._file.channel_ids(images, first)
        for earlier in reversed(range(which)):
            found = self._file.measurement(earlier)
            numbers = np.flatnonzero(flag(found.mdh["EvalInfoMask"], "NOISEADJSCAN"))
            numbers = numbers[found.mdh["UsedChannels"][numbers] == len(coils)]
            if not len(numbers):
                continue
            if self._file.channel_ids(found, int(numbers[0])) != coils:
                self.notes.append(
                    f"the noise scan of measurement {earlier + 1} is of other coils and left out"
                )
                continue
            noise = replace(found, mdh=found.mdh[numbers], place=found.place[numbers])
            for name, values in heads_of(noise.mdh, Protocol(self.path, found.protocol)).items():
                self.heads[name] = np.concatenate([self.heads[name], values])
            self._parts.append(noise)
            self._starts = np.append(self._starts, len(self.heads["flags"]))
            self.notes.append(f"noise is known from measurement {earlier + 1}")
            return

    def rows(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return the samples of readouts, each complex64 (coil, samples)."""
        rows = []
        for number in indices.tolist():
            part = int(np.searchsorted(self._starts, number, side="right")) - 1
            row = self._file.samples(self._parts[part], number - int(self._starts[part]))
            rows.append(np.ascontiguousarray(row, np.complex64))
        return rows

    def refuse(self, found: dict[str, bool]) -> None:
        """Raise InputError for the first of some kinds of a scan that this one is."""
        kind = next((text for text, is_so in found.items() if is_so), None)
        if kind is not None:
            raise InputError(
                f"{self.path}: {kind}, which is not read here; for programs that read it, "
                f"`siemens_to_ismrmrd -f {self.path.name} -o scan.h5` converts it"
            )

    @property
    def together(self) -> bool:
        """Whether several slices were measured at once."""
        bands = self.protocol.yaps("sSliceAcceleration", "lMultiBandFactor") or 1
        return bands > 1 or bool(flag(self.mdh["EvalInfoMask"], "SLICE_ACCEL_REFSCAN").any())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
