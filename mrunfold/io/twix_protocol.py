"""Siemens' protocols: the few fields that reconstruction needs, read without trusting the file.

Only numbers and defined terms of what is named here leave this module: no name, date, place, device or
identifier does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrunfold.errors import InputError
from mrunfold.io.encoding import BODY_PARTS, MAX_MATRIX, POSITIONS

__all__ = ["Protocol"]

# Lines of the protocol that are parsed at all: an index of another, 999999999, would be as many entries.
ASCCONV = re.compile(
    r"^[ \t]*(?:sKSpace|sSliceArray\.asSlice|sPat|sSliceAcceleration|sRXSPEC\.alDwellTime|alTR|alTE"
    r"|adFlipAngleDegree|lContrasts|tProtocolName)\b[^\n\[=]*(?:\[[0-9]{1,3}\][^\n\[=]*)?=[^\n]*\n",
    re.MULTILINE,
)
# Fields of the other parts, each by its name alone.
MOST_LISTED = 128  # values of one setting
FIELDS = (
    "flReadoutOSFactor", "iNoOfFourierColumns", "iNoOfFourierLines", "iNoOfFourierPartitions", "alRegridMode",
    "chronSliceIndices",
    "phaseOversampling", "flMagneticFieldStrength", "tPatientPosition", "tBodyPartExamined",
)  # fmt: skip
SECTIONS = ("Meas", "Dicom", "Config", "Protocol")  # in this order; XA has some in the last alone
REFERENCE_MODES = {2: "embedded", 4: "separate", 8: "separate", 16: "interleaved", 32: "interleaved"}
TRAJECTORIES = {1: "cartesian", 2: "radial", 4: "spiral", 8: "BLADE"}


class Protocol:
    """What a measurement's protocol says; numbers are None where it does not say them.

    texts: the parts of the protocol by their names, as `TwixFile.protocol` returns them.
    """

    def __init__(self, path: Path, texts: Mapping[str, str]) -> None:
        from twixtools.twixprot import parse_ascconv

        self.path = path
        lines = "".join(found[0] for found in ASCCONV.finditer(texts.get("MeasYaps", "")))
        try:
            self._yaps: dict[str, Any] = parse_ascconv(lines)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # A name that is a list in one line and none in another.
            raise InputError(f"{path}: its protocol (MeasYaps) contradicts itself; copy it again") from None
        self._fields: dict[str, str] = {}
        for section in SECTIONS:
            for name, value in _fields(texts.get(section, "")).items():
                self._fields.setdefault(name, value)

    def yaps(self, *keys: str | int) -> float | None:
        """Return a finite number of MeasYaps by its keys, as ("sSliceArray", "asSlice", 0, "dThickness")."""
        found: Any = self._yaps
        for key in keys:
            inside = isinstance(found, list) and isinstance(key, int) and key < len(found)
            if not inside and not (isinstance(found, dict) and key in found):
                return None
            found = found[key]
        if isinstance(found, str):
            try:
                found = int(found, 0)
            except ValueError:
                return None
        number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
        return float(found) if number else None

    def numbers(self, name: str) -> list[float]:
        """Return the numbers of a field of FIELDS, none where it has none."""
        words = self._fields.get(name, "").split()
        good = [word for word in words if re.fullmatch(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?", word)]
        try:
            found = [float(word) for word in good]
        except ValueError:
            return []
        return found if all(map(math.isfinite, found)) else []

    def number(self, name: str) -> float | None:
        """Return the first number of a field of FIELDS."""
        return next(iter(self.numbers(name)), None)

    def positive(self, *keys: str | int) -> float | None:
        """Return a number of MeasYaps where it is above zero."""
        found = self.yaps(*keys)
        return found if found is not None and found > 0 else None

    def whole(self, *keys: str | int) -> int | None:
        """Return a number of MeasYaps where it is a size that a matrix can have."""
        found = self.positive(*keys)
        return int(found) if found is not None and found == int(found) and found <= MAX_MATRIX else None

    @property
    def trajectory(self) -> str:
        """One of TRAJECTORIES; "other" for what is unknown."""
        return TRAJECTORIES.get(int(self.yaps("sKSpace", "ucTrajectory") or 1), "other")

    @property
    def calibration(self) -> str | None:
        """How reference lines were measured, None where the protocol has none."""
        return REFERENCE_MODES.get(int(self.yaps("sPat", "ucRefScanMode") or 0))

    @property
    def noise_dwell_us(self) -> float | None:
        """Dwell time of noise lines in µs where the adjustment that measures them is known, by its name."""
        name = self._yaps.get("tProtocolName")
        return {"AdjCoilSens": 5.0, "AdjQuietCoilSens": 4.0}.get(name if isinstance(name, str) else "")

    def contrast(self) -> dict[str, float | str]:
        """Return the allow-listed scanner settings; texts only where they are one of the defined terms."""
        found: dict[str, float | str] = {}
        for key, name in (("TR_ms", "alTR"), ("TE_ms", "alTE")):
            if (value := self.positive(name, 0)) is not None:
                found[key] = value / 1000
        if (flip := self.positive("adFlipAngleDegree", 0)) is not None:
            found["flip_deg"] = flip
        field = self.number("flMagneticFieldStrength")
        if field is not None and 0 < field < 100:
            found["field_T"] = field
        for key, name, terms in (
            ("patient_position", "tPatientPosition", POSITIONS),
            ("body_part", "tBodyPartExamined", BODY_PARTS),
        ):
            if (term := self._fields.get(name, "").strip(' "').upper()) in terms:
                found[key] = term
        return found

    def lists(self) -> dict[str, tuple[float, ...]]:
        """Return settings of which the protocol has more than one value: those of echoes and the like."""
        found = {}
        for key, name, unit in (
            ("TE_ms", "alTE", 1e-3),
            ("TI_ms", "alTI", 1e-3),
            ("flip_deg", "adFlipAngleDegree", 1.0),
        ):
            values: list[float] = []
            while len(values) < MOST_LISTED and (value := self.positive(name, len(values))) is not None:
                values.append(value * unit)
            if key == "TE_ms":  # values of earlier settings may follow those of the contrasts
                values = values[: int(self.yaps("lContrasts") or 1)]
            if len(values) > 1:
                found[key] = tuple(values)
        return found


def _fields(text: str) -> dict[str, str]:
    """Return the values of FIELDS in a part of the protocol, the first of each that has one."""
    found: dict[str, str] = {}
    pattern = rf'<Param(?:Long|Double|String)\."({"|".join(FIELDS)})">\s*\{{([^{{}}]*)\}}'
    for match in re.finditer(pattern, text):
        value = re.sub(r"<(?:Default|Precision|MinSize|MaxSize)>\s*[^\s{}]+|<[^<>]*>", " ", match[2])
        value = " ".join(value.split())
        if value and not value.startswith("-1") and match[1] not in found:
            found[match[1]] = value
    return found
