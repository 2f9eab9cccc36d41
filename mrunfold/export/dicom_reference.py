"""Who the images belong to: nobody, whom the user names, or whom a DICOM of the same exam names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.errors import InputError, did_you_mean
from mrunfold.export.geometry import Stack
from mrunfold.io.encoding import BODY_PARTS
from mrunfold.io.scan import Header

__all__ = ["Exam", "Source", "from_reference", "given", "laterality"]

# Everything that is ever copied from a reference; texts empty where it has none.
PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
FRAME = ("FrameOfReferenceUID", "PositionReferenceIndicator")
# Given by the user only: a raw file does not know left from right.
PART = ("BodyPartExamined", "Laterality")
PAIRED = {"ANKLE", "ARM", "BREAST", "ELBOW", "FOOT", "HAND", "HIP", "KNEE", "LEG", "SHOULDER", "WRIST"}
# A phantom is none of DICOM's body parts.
TERMS = {
    "BodyPartExamined": BODY_PARTS - {"PHANTOM"},
    "Laterality": {"L", "R"},
    "PatientSex": {"F", "M", "O"},
}
DATES = ("StudyDate", "PatientBirthDate")
GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
IMAGE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
# Series of ours begin above the scanner's, at a round number that other series of the study hardly reach.
ROUND = 1000
MAX_FILES = 20_000
MAX_ANGLE = math.radians(0.5)


@dataclass(frozen=True)
class Source:
    """An image of the scanner's: its UIDs."""

    sop_class: str
    instance: str
    series: str


@dataclass(frozen=True)
class Exam:
    """Patient and study: elements by keyword; frame: those of the frame of reference, empty where unknown.

    part: BodyPartExamined and Laterality where the user gives them; note: what could not be checked; sources:
    the scanner's images of a slice, by the slice's place in the volume; above: what is added to the numbers
    of series; description: the user's words for all series, None for the method's.
    """

    elements: dict[str, str] = field(default_factory=dict)
    frame: dict[str, str] = field(default_factory=dict)
    part: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    sources: dict[int, list[Source]] = field(default_factory=dict)
    above: int = 0
    description: str | None = None

    @property
    def identified(self) -> bool:
        """Whether anything of patient or study is named."""
        return any(self.elements.values())


def given(values: Mapping[str, str]) -> Exam:
    """Return an exam with the elements, by keyword, that the user gives.

    Raises InputError for a keyword that is not of patient, study or body part, and where DICOM cannot hold
    the value.
    """
    for keyword, value in values.items():
        allowed = (*PATIENT, *STUDY, *PART)
        if keyword not in allowed:
            raise InputError(f"{keyword} cannot be given{did_you_mean(keyword, allowed)}")
        _check(keyword, value)
    part = {keyword: values[keyword].upper() for keyword in PART if keyword in values}
    return Exam({k: v for k, v in values.items() if k not in PART}, part=part)


def _check(keyword: str, value: str) -> None:
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    if keyword in TERMS:
        if value.upper() not in TERMS[keyword]:
            raise InputError(f"{keyword} is one of {', '.join(sorted(TERMS[keyword]))}, got {value!r}")
        return
    try:
        if not value.strip() or not value.isprintable() or "\\" in value:
            raise ValueError("one line of printable characters is expected, no backslash")
        if keyword in DATES and not (len(value) == 8 and value.isdigit()):
            raise ValueError(f"a date is YYYYMMDD, as 20260131, got {value!r}")
        validate_value(dictionary_VR(keyword), value, RAISE)
        if keyword in DATES and not 1 <= int(value[4:6]) <= 12:
            raise ValueError("a date is YYYYMMDD")
    except ValueError as error:
        raise InputError(f"DICOM cannot hold this {keyword}: {error}") from None


def laterality(header: Header, exam: Exam) -> dict[str, str]:
    """Return BodyPartExamined and, of a paired or unknown part, Laterality: empty where nobody says.

    Raises InputError for a side of what has none.
    """
    part = exam.part.get("BodyPartExamined") or str(header.contrast.get("body_part", ""))
    if not part and header.acquisition:  # fastMRI's: axial scans are of the brain, coronal ones of the knee
        part = "BRAIN" if header.acquisition.startswith("AX") else "KNEE"
    part = part if part in TERMS["BodyPartExamined"] else ""
    side = exam.part.get("Laterality", "")
    if part and part not in PAIRED:
        if side:
            raise InputError(f"{part} is no paired body part; leave Laterality out")
        return {"BodyPartExamined": part}
    return {"BodyPartExamined": part, "Laterality": side}


def from_reference(reference: Path | str, header: Header, places: Sequence[Stack]) -> Exam:
    """Return patient, study, frame and source images of a DICOM file, or folder of files, of the same exam.

    Every reconstructed slice must lie in a plane of the folder's images (of a single file: one slice must),
    with the centre within 1.5 pixels and axes parallel within 0.5°.  Where the raw file has no geometry
    there is nothing to check: `note` says so.  Raises InputError where the reference is no DICOM, is of more
    than one patient, study or frame, or lies elsewhere.
    """
    reference = Path(reference)
    found = list(_headers(reference))
    kept = {}
    for keyword in (*PATIENT, *STUDY, *FRAME):
        values = {str(one.get(keyword, "") or "") for one in found}
        if len(values) > 1:
            raise InputError(f"{reference}: its files differ in {keyword}; give files of one exam and frame")
        kept[keyword] = values.pop()
    if not kept["StudyInstanceUID"]:
        raise InputError(f"{reference}: it has no StudyInstanceUID; give a DICOM as a PACS has it")
    elements = {keyword: kept[keyword] for keyword in (*PATIENT, *STUDY)}
    if places[0].lps is None:
        note = "the raw file has no geometry: nothing could check that the reference is of the same exam"
        return Exam(elements, note=note, above=_above(found))
    if not kept["FrameOfReferenceUID"]:
        raise InputError(f"{reference}: it has no FrameOfReferenceUID, so nothing can be placed by it")
    sources = _check_places(reference, found, header, places)
    frame = {keyword: kept[keyword] for keyword in FRAME}
    return Exam(elements, frame, sources=sources, above=_above(found))


def _above(found: Sequence[Any]) -> int:
    """Return a number above every SeriesNumber of the reference, 0 where it has none."""
    numbers = [int(one.SeriesNumber) for one in found if one.get("SeriesNumber") is not None]
    return (max(numbers) // ROUND + 1) * ROUND if numbers and max(numbers) > 0 else 0


def _headers(reference: Path) -> Iterator[Any]:
    """Yield the datasets, without pixels, of a file or of the DICOM files directly in a folder."""
    import pydicom

    if not reference.exists():
        raise InputError(f"{reference}: no such file or folder")
    if reference.is_dir():
        paths = sorted(p for p in reference.iterdir() if p.is_file() and not p.name.startswith("."))
        if len(paths) > MAX_FILES:
            raise InputError(
                f"{reference}: {len(paths)} files, at most {MAX_FILES} are read; give one series"
            )
    else:
        paths = [reference]
    count = 0
    wanted: list[Any] = [*PATIENT, *STUDY, *FRAME, *GEOMETRY, *IMAGE, "SeriesNumber"]
    for path in paths:
        try:
            one = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
            [one.get(keyword) for keyword in wanted]  # values are parsed here, so that a bad one shows now
        except OSError:
            raise
        except Exception:  # on a broken file pydicom raises nearly anything
            if reference.is_dir():
                continue
            raise InputError(f"{reference}: not a DICOM file that can be read; give another") from None
        count += 1
        yield one
    if not count:
        raise InputError(f"{reference}: no DICOM file directly in this folder; give another")


def _check_places(
    reference: Path, found: Sequence[Any], header: Header, places: Sequence[Stack]
) -> dict[int, list[Source]]:
    """Return the images of each slice, by its place in the volume; InputError where places differ."""
    known = [(plane, one) for one in found if (plane := _plane(one)) is not None]
    planes = [plane for plane, _ in known]
    sources: dict[int, list[Source]] = {}
    if not planes:
        raise InputError(
            f"{reference}: no image position and orientation; give a classic MR series of the same exam"
        )
    matches, worst, count = 0, "", 0
    for stack in places:
        assert stack.lps is not None
        for place in range(len(stack.slices)):
            reasons = [_differs(stack.lps, place, header, plane) for plane in planes]
            count += 1
            if None in reasons:
                matches += 1
                same = [one for (_, one), reason in zip(known, reasons, strict=True) if reason is None]
                uids = ([str(one.get(keyword, "") or "") for keyword in IMAGE] for one in same)
                sources[stack.slices[place]] = [Source(*three) for three in uids if all(three)]
            else:
                worst = worst or min((r for r in reasons if r), key=len)
    if matches == count or (matches and not reference.is_dir()):
        return sources
    raise InputError(
        f"{reference}: its geometry does not agree: {count - matches} of {count} slices lie in none of its "
        f"planes ({worst}); give the DICOM of this very acquisition"
    )


def _plane(one: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, float] | None:
    """Return (row direction, column direction, centre) and the larger pixel in mm of a DICOM image."""
    try:
        position = np.array([float(v) for v in one.ImagePositionPatient])
        orientation = np.array([float(v) for v in one.ImageOrientationPatient])
        spacing = [float(v) for v in one.PixelSpacing]
        rows, columns = int(one.Rows), int(one.Columns)
    except (AttributeError, TypeError, ValueError):
        return None
    if position.shape != (3,) or orientation.shape != (6,) or len(spacing) != 2 or min(spacing) <= 0:
        return None
    if not np.isfinite([*position, *orientation, *spacing]).all():
        return None
    along, down = orientation[:3], orientation[3:]
    centre = position + along * spacing[1] * (columns - 1) / 2 + down * spacing[0] * (rows - 1) / 2
    return along, down, centre, max(spacing)


def _differs(
    lps: np.ndarray, place: int, header: Header, plane: tuple[np.ndarray, np.ndarray, np.ndarray, float]
) -> str | None:
    """Return how a slice of ours differs from a plane, None where it is the same."""
    along, down, centre, pixel = plane
    read, phase = (lps[:3, axis] / np.linalg.norm(lps[:3, axis]) for axis in (0, 1))
    normal = np.cross(read, phase)
    if abs(normal @ np.cross(along, down)) < math.cos(MAX_ANGLE):
        return "another orientation"
    if max(abs(read @ along), abs(read @ down)) < math.cos(MAX_ANGLE):
        return "turned within the plane"
    middle = [(n - 1) / 2 for n in header.crop]
    away = (lps @ [*middle, place, 1])[:3] - centre
    across = abs(float(away @ normal))
    thickness = header.slice_mm or float(np.linalg.norm(lps[:3, 2]))
    if across > min(thickness / 2, 1.0):
        return f"{across:.1f} mm off along the slice direction"
    within = float(np.linalg.norm(away - (away @ normal) * normal))
    limit = 1.5 * max(pixel, *np.linalg.norm(lps[:3, :2], axis=0))
    if within > limit:
        return f"centres {within:.1f} mm apart"
    return None
