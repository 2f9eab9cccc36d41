"""The ISMRMRD XML header: the few fields that reconstruction needs, read without trusting the file.

Only what is named here leaves this module: no name, date, place, device or identifier of the header does.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field, replace
from pathlib import Path

from mrunfold.errors import InputError

__all__ = ["Encoding", "Limits", "Space", "parse_encoding"]

MAX_XML_BYTES = 4 << 20
MAX_MATRIX = 65535  # encode steps and sample counts are 16-bit in ISMRMRD
# Finer and coarser than MRI has been: the length is of another unit than mm.
LEAST_PIXEL_MM, MOST_PIXEL_MM, LEAST_THICKNESS_MM = 0.008, 200.0, 0.02
CALIBRATION_MODES = {"embedded", "interleaved", "separate", "external", "other"}
# Counters that a header may give to diffusion weightings.
DIFFUSION = {"average", "contrast", "phase", "repetition", "set", "segment", *(f"user_{n}" for n in range(8))}
COUNTED = ("slice", "contrast", "phase", "repetition", "set", "segment")
POSITIONS = {"HFP", "HFS", "HFDR", "HFDL", "FFP", "FFS", "FFDR", "FFDL"}
# DICOM's defined terms that occur in MRI research; any other text may name a person or a place.
BODY_PARTS = {
    "ABDOMEN", "ANKLE", "ARM", "BRAIN", "BREAST", "CHEST", "CSPINE", "ELBOW", "FOOT", "HAND", "HEAD", "HEART",
    "HIP", "KNEE", "LEG", "LIVER", "LSPINE", "NECK", "PELVIS", "PHANTOM", "PROSTATE", "SHOULDER", "SPINE",
    "TSPINE", "WRIST",
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """Matrix (x, y, z) and field of view (x, y, z) in mm; None where the file has none."""

    matrix: tuple[int, int, int]
    fov: tuple[float, float, float] | None


@dataclass(frozen=True)
class Limits:
    """First, last and central value of an encoding counter."""

    minimum: int
    maximum: int
    center: int


@dataclass(frozen=True)
class Encoding:
    """One encoding of an ISMRMRD header, allow-listed.

    noise_bandwidth: relative receiver noise bandwidth, 1 where the file does not say; encodings: how many
    the header has; siemens: the scanner's maker, which decides the sign of the Fourier transform;
    calibration: one of CALIBRATION_MODES, None where the file does not say; averages: how many the header
    announces, None where it does not; counts: the same of COUNTED that it announces; metres: lengths were in
    metres and are in mm here; lists: settings of which the header has several, by the names of
    `frames.VALUES`; diffusion: the counter that diffusion weightings have, and the b-value of each in s/mm²;
    ramps: an EPI scan, sampled on the ramps of its gradients; notes: what was put right, in words.
    """

    encoded: Space
    recon: Space
    step1: Limits | None = None
    step2: Limits | None = None
    trajectory: str = "cartesian"
    noise_bandwidth: float = 1.0
    encodings: int = 1
    contrast: dict[str, float | str] = field(default_factory=dict)
    siemens: bool = False
    calibration: str | None = None
    coils: int | None = None
    slices: int | None = None
    averages: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    metres: bool = False
    lists: dict[str, tuple[float, ...]] = field(default_factory=dict)
    diffusion: tuple[str, tuple[float, ...]] | None = None
    ramps: bool = False
    notes: tuple[str, ...] = ()


def parse_encoding(path: Path, text: bytes | str, which: int = 0) -> Encoding:
    """Return what an ISMRMRD XML header says of its encoding `which`, counted from 0.

    Raises InputError where it is too long, not XML, declares a document type or entities, has no such
    encoding or has something else where a number must be.
    """
    root = _Node(path, _parse(path, text), "ismrmrdHeader")
    encodings = root.all("encoding")
    if not encodings:
        raise InputError(
            f"{path}: the ISMRMRD header has no <encoding>; the file cannot be placed in k-space"
        )
    if which >= len(encodings):
        raise InputError(
            f"{path}: acquisitions are of encoding space {which} and the ISMRMRD header has only "
            f"{len(encodings)}; write the header anew"
        )
    chosen = encodings[which]
    encoded = _space(chosen.one("encodedSpace"))
    recon = _space(node) if (node := chosen.optional("reconSpace")) else encoded
    limits = chosen.optional("encodingLimits")
    step1 = limits.optional("kspace_encoding_step_1") if limits else None
    step2 = limits.optional("kspace_encoding_step_2") if limits else None
    system = root.optional("acquisitionSystemInformation")
    bandwidth = system.number("relativeReceiverNoiseBandwidth") if system else None
    vendor = system.optional("systemVendor") if system else None
    encoded, recon, metres, notes = _in_millimetres(encoded, recon)
    return Encoding(
        encoded=encoded,
        recon=recon,
        step1=_limits(step1) if step1 else None,
        step2=_limits(step2) if step2 and encoded.matrix[2] > 1 else None,
        trajectory=_trajectory(chosen.optional("trajectory")),
        noise_bandwidth=bandwidth or 1.0,
        encodings=len(encodings),
        contrast=_contrast(root),
        siemens=vendor is not None and "siemens" in vendor.text.lower(),
        calibration=_calibration(chosen.optional("parallelImaging")),
        coils=_count(system, "receiverChannels"),
        slices=_length(limits, "slice"),
        averages=_length(limits, "average"),
        counts={name: n for name in COUNTED if (n := _length(limits, name)) is not None},
        metres=metres,
        lists=_lists(root),
        diffusion=_diffusion(root),
        ramps=_ramps(chosen),
        notes=notes,
    )


def _in_millimetres(encoded: Space, recon: Space) -> tuple[Space, Space, bool, tuple[str, ...]]:
    """Return both spaces with lengths in mm, whether they were in metres, and what there is to say of it."""
    if encoded.fov is None:
        return encoded, recon, False, ()
    pixel = [length / n for length, n in zip(encoded.fov, encoded.matrix, strict=True)]
    if min(pixel[:2]) >= LEAST_PIXEL_MM and max(pixel[:2]) <= MOST_PIXEL_MM:
        return encoded, recon, False, ()
    if all(LEAST_PIXEL_MM <= 1e3 * side <= MOST_PIXEL_MM for side in pixel[:2]):
        note = f"the header's field of view makes pixels of {1e3 * pixel[0]:.3g} µm: it is taken as metres"
        spaces = [replace(s, fov=s.fov and _from_metres(s.fov, s.matrix)) for s in (encoded, recon)]
        return spaces[0], spaces[1], True, (note,)
    note = f"the header's field of view makes pixels of {pixel[0]:.3g} mm: the pixel size is taken as unknown"
    return replace(encoded, fov=None), replace(recon, fov=None), False, (note,)


def _from_metres(fov: tuple[float, float, float], matrix: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return lengths in mm; the thickness may have been in mm already."""
    thin = fov[2] / matrix[2] < LEAST_THICKNESS_MM
    return 1e3 * fov[0], 1e3 * fov[1], (1e3 if thin else 1.0) * fov[2]


def _calibration(node: _Node | None) -> str | None:
    mode = node.optional("calibrationMode") if node else None
    return mode.text.lower() if mode and mode.text.lower() in CALIBRATION_MODES else None


def _count(node: _Node | None, name: str) -> int | None:
    """Return a child that is a whole number from 1, None for any other: it only helps to tell axes apart."""
    child = node.optional(name) if node else None
    return int(child.text) or None if child and re.fullmatch(r"[0-9]{1,6}", child.text) else None


def _length(limits: _Node | None, name: str) -> int | None:
    """Return how many values an encoding counter has, None where the header does not say."""
    node = limits.optional(name) if limits else None
    last = node.optional("maximum") if node else None
    return int(last.text) + 1 if last and re.fullmatch(r"[0-9]{1,5}", last.text) else None


def _parse(path: Path, text: bytes | str) -> ElementTree.Element:
    if len(text) > MAX_XML_BYTES:
        raise InputError(
            f"{path}: its ISMRMRD header has {len(text)} bytes, at most {MAX_XML_BYTES} are read"
        )
    # Decoded here, so that no other encoding can hide a document type from the next check.
    string, legacy = _decoded(text) if isinstance(text, bytes) else (text, "")
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", string, re.IGNORECASE):
        raise InputError(f"{path}: its ISMRMRD header declares a document type or entities; remove them")
    try:
        return ElementTree.fromstring(string.strip().strip("\0"))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: its ISMRMRD header is {legacy}not well-formed XML ({error})") from error


def _decoded(text: bytes) -> tuple[str, str]:
    """Return UTF-8 text, or else ISO-8859-1 as Siemens' protocols have it, and what to say where it is that.

    Every byte is a letter of ISO-8859-1; what is used of the header are numbers and defined terms.
    """
    try:
        return text.decode("utf-8"), ""
    except UnicodeDecodeError:
        return text.decode("iso-8859-1"), "not UTF-8 text and as ISO-8859-1 "


class _Node:
    """An element whose children are found by local name, whatever the namespace."""

    def __init__(self, path: Path, element: ElementTree.Element, name: str) -> None:
        self.path, self.element, self.name = path, element, name

    def all(self, name: str) -> list[_Node]:
        children = (c for c in self.element if isinstance(c.tag, str) and c.tag.rsplit("}", 1)[-1] == name)
        return [_Node(self.path, child, f"{self.name}/{name}") for child in children]

    def optional(self, name: str) -> _Node | None:
        return next(iter(self.all(name)), None)

    def one(self, name: str) -> _Node:
        node = self.optional(name)
        if node is None:
            raise InputError(f"{self.path}: the ISMRMRD header has no <{name}> in {self.name}")
        return node

    @property
    def text(self) -> str:
        return (self.element.text or "").strip()

    def integer(self, name: str, low: int, high: int) -> int:
        """Return a child as a whole number in [low, high]; the text itself is never repeated in a message."""
        node = self.one(name)
        value = int(node.text) if re.fullmatch(r"[+-]?[0-9]{1,9}", node.text) else None
        if value is None or not low <= value <= high:
            raise InputError(
                f"{self.path}: {node.name} in the ISMRMRD header is not a whole number from {low} to {high}"
            )
        return value

    def number(self, name: str) -> float | None:
        """Return a child as a positive finite number, None where there is none or a zero."""
        node = self.optional(name)
        if node is None:
            return None
        try:
            value = float(node.text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise InputError(f"{self.path}: {node.name} in the ISMRMRD header is not a positive number")
        return value or None

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return all children of a name as finite numbers from 0, none where one is something else."""
        try:
            found = tuple(float(one.text) for one in self.all(name))
        except ValueError:
            return ()
        return found if all(math.isfinite(value) and value >= 0 for value in found) else ()


def _space(node: _Node) -> Space:
    size = node.one("matrixSize")
    matrix = tuple(size.integer(axis, 1, MAX_MATRIX) for axis in "xyz")
    view = node.optional("fieldOfView_mm")
    fov = tuple(view.number(axis) for axis in "xyz") if view else (None,) * 3
    return Space(matrix, None if None in fov else fov)  # type: ignore[arg-type]


def _limits(node: _Node) -> Limits:
    return Limits(*(node.integer(name, 0, MAX_MATRIX) for name in ("minimum", "maximum", "center")))


def _trajectory(node: _Node | None) -> str:
    known = {"cartesian", "epi", "radial", "goldenangle", "spiral", "other"}
    name = node.text.lower() if node else "cartesian"
    return name if name in known else "other"


def _ramps(encoding: _Node) -> bool:
    """Return whether the trajectory is described as one with samples on ramps."""
    described = encoding.optional("trajectoryDescription")
    for one in described.all("userParameterLong") if described else []:
        name, value = one.optional("name"), one.optional("value")
        if name and value and name.text == "rampUpTime":
            return value.text not in ("", "0")
    return False


def _lists(root: _Node) -> dict[str, tuple[float, ...]]:
    """Return settings of which the header has more than one value: those of echoes, sets and the like."""
    sequence = root.optional("sequenceParameters")
    names = {"TE_ms": "TE", "TI_ms": "TI", "TR_ms": "TR", "flip_deg": "flipAngle_deg"}
    found = {key: sequence.numbers(name) if sequence else () for key, name in names.items()}
    return {key: values for key, values in found.items() if len(values) > 1}


def _diffusion(root: _Node) -> tuple[str, tuple[float, ...]] | None:
    """Return the counter of diffusion weightings and their b-values, none where one is no number."""
    sequence = root.optional("sequenceParameters")
    dimension = sequence.optional("diffusionDimension") if sequence else None
    if sequence is None or dimension is None or dimension.text not in DIFFUSION:
        return None
    values = [one.numbers("bvalue") for one in sequence.all("diffusion")]
    return dimension.text, tuple(v for one in values for v in one) if all(map(len, values)) else ()


def _contrast(root: _Node) -> dict[str, float | str]:
    """Return the allow-listed scanner settings; texts only where they are one of the defined terms."""
    contrast: dict[str, float | str] = {}
    sequence = root.optional("sequenceParameters")
    system = root.optional("acquisitionSystemInformation")
    for key, node, name in (
        ("TR_ms", sequence, "TR"),
        ("TE_ms", sequence, "TE"),
        ("flip_deg", sequence, "flipAngle_deg"),
        ("field_T", system, "systemFieldStrength_T"),
    ):
        value = node.number(name) if node else None
        if value is not None:
            contrast[key] = value
    for key, parent, name, terms in (
        ("patient_position", "measurementInformation", "patientPosition", POSITIONS),
        ("body_part", "studyInformation", "bodyPartExamined", BODY_PARTS),
    ):
        group = root.optional(parent)
        node = group.optional(name) if group else None
        if node and node.text.upper() in terms:
            contrast[key] = node.text.upper()
    return contrast
