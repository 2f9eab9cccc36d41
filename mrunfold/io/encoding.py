"""The ISMRMRD XML header: the few fields that reconstruction needs, read without trusting the file.

Only what is named here leaves this module: no name, date, place, device or identifier of the header does.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from mrunfold.errors import InputError

__all__ = ["Encoding", "Limits", "Space", "parse_encoding"]

MAX_XML_BYTES = 4 << 20
MAX_MATRIX = 65535  # encode steps and sample counts are 16-bit in ISMRMRD
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
    """The first encoding of an ISMRMRD header, allow-listed.

    noise_bandwidth: relative receiver noise bandwidth, 1 where the file does not say; encodings: how many
    the header has.
    """

    encoded: Space
    recon: Space
    step1: Limits | None = None
    trajectory: str = "cartesian"
    noise_bandwidth: float = 1.0
    encodings: int = 1
    contrast: dict[str, float | str] = field(default_factory=dict)


def parse_encoding(path: Path, text: bytes | str) -> Encoding:
    """Return what an ISMRMRD XML header says of its first encoding.

    Raises InputError where it is too long, not XML, declares a document type or entities, has no encoding or
    has something else where a number must be.
    """
    root = _Node(path, _parse(path, text), "ismrmrdHeader")
    encodings = root.all("encoding")
    if not encodings:
        raise InputError(
            f"{path}: the ISMRMRD header has no <encoding>; the file cannot be placed in k-space"
        )
    first = encodings[0]
    encoded = _space(first.one("encodedSpace"))
    recon = first.optional("reconSpace")
    limits = first.optional("encodingLimits")
    step1 = limits.optional("kspace_encoding_step_1") if limits else None
    trajectory = first.optional("trajectory")
    system = root.optional("acquisitionSystemInformation")
    bandwidth = system.number("relativeReceiverNoiseBandwidth") if system else None
    return Encoding(
        encoded=encoded,
        recon=_space(recon) if recon else encoded,
        step1=_limits(step1) if step1 else None,
        trajectory=_trajectory(trajectory),
        noise_bandwidth=bandwidth or 1.0,
        encodings=len(encodings),
        contrast=_contrast(root),
    )


def _parse(path: Path, text: bytes | str) -> ElementTree.Element:
    if len(text) > MAX_XML_BYTES:
        raise InputError(
            f"{path}: its ISMRMRD header has {len(text)} bytes, at most {MAX_XML_BYTES} are read"
        )
    try:
        # Decoded here, so that no other encoding can hide a document type from the next check.
        string = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: its ISMRMRD header is not UTF-8 text; write it anew") from error
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", string, re.IGNORECASE):
        raise InputError(f"{path}: its ISMRMRD header declares a document type or entities; remove them")
    try:
        return ElementTree.fromstring(string.strip().strip("\0"))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: its ISMRMRD header is not well-formed XML ({error})") from error


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
