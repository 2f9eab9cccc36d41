"""What made the pixels, in the fields that DICOM has for it: method, network, reference-free check."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING

from mrunfold.export.record import to_json
from mrunfold.export.result import PURPOSE, Reconstruction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["MANUFACTURER", "MODEL", "code", "comments", "contributing_equipment", "derivation"]

MODEL = f"mrunfold: {PURPOSE}"
MANUFACTURER = "Open source"  # dcm2niix and others read vendors from it; it must be none
LONGEST = 1024  # characters of a short text, ST


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def weights_name(digest: str | None) -> str | None:
    """Return the name of shipped weights with this sha256, in words for others, None for a method without."""
    if digest is None:
        return None
    # Read where it lies: to import the package would load PyTorch.
    known = resources.files("mrunfold").joinpath("networks", "weights", "sha256.json")
    shipped = json.loads(known.read_text(encoding="utf-8"))
    found = [name for name, one in shipped.items() if one == digest]
    return found[0].removesuffix(".safetensors") if found else "weights that do not ship with mrunfold"


def _made_by(result: Reconstruction) -> str:
    if result.weights_sha256 is None:
        return f"method {result.method}, no neural network"
    name = weights_name(result.weights_sha256)
    return (
        f"a neural network made these pixels: method {result.method}, {name}, sha256 {result.weights_sha256}"
    )


def derivation(result: Reconstruction, title: str) -> str:
    """Return how the image was made, at most LONGEST characters."""
    text = (
        f"{PURPOSE}. {result.titled(title)}, by mrunfold {result.version}; {_made_by(result)}; from raw data "
        f"sha256 {result.digest}, magnitude {result.kind}, mask {result.mask['kind']}"
    )
    if result.check is not None:
        text += f"; check without reference: {result.check.words()}"
    text += "; parameters " + re.sub(r"\s+", " ", to_json(result.parameters))
    return text.replace("\\", "/")[:LONGEST]


def comments(result: Reconstruction) -> str:
    """Return purpose, verdict of the check and flags, in this order."""
    said = [PURPOSE]
    if result.check is not None:
        said.append(f"check without reference: {result.check.words()}")
    return "; ".join((*said, *result.flags)).replace("\\", "/")[:10240]


def contributing_equipment(result: Reconstruction, title: str) -> Dataset:
    """Return the item that says what made the image: software, weights, parameters, purpose."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code("109102", "DCM", "Processing Equipment")]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = MODEL
    item.SoftwareVersions = [f"mrunfold {result.version}", *_weights_versions(result)]
    item.ContributionDescription = derivation(result, title)
    return item


def _weights_versions(result: Reconstruction) -> list[str]:
    """Name and beginning of the sha256 of the weights: an LO has 64 characters, the whole is in the text."""
    name = weights_name(result.weights_sha256)
    return [] if name is None else [f"{name[:39]}, sha256 {str(result.weights_sha256)[:12]}"]
