"""What recon.h5 keeps of the raw header: an allow-list, and how it is read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mrunfold.errors import InputError
from mrunfold.io.encoding import BODY_PARTS, POSITIONS
from mrunfold.io.fastmri import ACQUISITIONS
from mrunfold.io.frames import Frames
from mrunfold.io.scan import Geometry, Header

__all__ = ["header_facts", "read_facts"]


def header_facts(header: Header, indices: Sequence[int]) -> dict[str, Any]:
    """Return what recon.h5 keeps of the raw header, for the slices `indices`: an allow-list."""
    geometry = header.geometry
    return {
        "crop": list(header.crop),
        "pixel_mm": header.pixel_mm,
        "slice_mm": header.slice_mm,
        "contrast": header.contrast,
        "acquisition": header.acquisition,
        "frames": None if header.frames is None else asdict(header.frames.take(indices)),
        "geometry": None if geometry is None else _places(geometry.take(indices)),
    }


def _places(geometry: Geometry) -> dict[str, Any]:
    # Micrometres: more digits would only make the attribute long.
    positions = np.asarray(geometry.positions, float).round(6).tolist()
    axes = {name: np.asarray(getattr(geometry, name), float).tolist() for name in ("read", "phase", "normal")}
    return {"positions": positions, **axes}


Vector = tuple[float, float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Geometry(_Strict):
    positions: list[Vector] = Field(min_length=1)
    read: Vector | list[Vector]
    phase: Vector | list[Vector]
    normal: Vector | list[Vector]


class _Frames(_Strict):
    labels: list[dict[str, float]] = Field(min_length=1)
    frame: list[int]
    place: list[int]


class _Facts(_Strict):
    crop: tuple[int, int]
    pixel_mm: tuple[float, float] | None
    slice_mm: float | None
    contrast: dict[str, float | str]
    acquisition: str | None
    frames: _Frames | None = None  # what was written before there were any has none
    volumes: list[int] | None = None  # of what was written before frames had labels
    geometry: _Geometry | None


def read_facts(path: Path, values: Any, shape: tuple[int, ...]) -> Header:
    """Return the header of images of `shape` that a file says of itself; InputError where it cannot be."""
    try:
        facts = _Facts.model_validate(values)
        frames, places = _frames(facts), facts.geometry
        counts = [len(found) for found in (places and places.positions, frames and frames.frame) if found]
        axes = (places.read, places.phase, places.normal) if places else ()
        counts += [len(axis) for axis in axes if np.ndim(axis) == 2]
        if facts.crop != shape[1:] or any(count != shape[0] for count in counts):
            raise ValueError("sizes differ from the images'")
        _check_terms(facts)
    except ValueError as error:  # pydantic's own message would repeat the value
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{path}: its 'header' is damaged ({reason}); reconstruct again") from None
    geometry = None
    if (found := facts.geometry) is not None:
        vectors = (np.asarray(v, float) for v in (found.read, found.phase, found.normal))
        geometry = Geometry(np.asarray(found.positions, float), *vectors)
    return Header(
        format="mrd",  # whatever it was: nothing below depends on it
        slices=shape[0],
        coils=1,
        matrix=facts.crop,
        unoversampled=facts.crop[0],
        crop=facts.crop,
        acquisition=facts.acquisition,
        pixel_mm=facts.pixel_mm,
        slice_mm=facts.slice_mm,
        geometry=geometry,
        contrast=facts.contrast,
        frames=frames,
    )


def _frames(facts: _Facts) -> Frames | None:
    """Return the frames; ValueError where they cannot be."""
    if facts.frames is not None:
        found = facts.frames
        if min(found.place, default=0) < 0:
            raise ValueError("a place below 0")
        return Frames(tuple(found.labels), tuple(found.frame), tuple(found.place))
    if facts.volumes is None or len(set(facts.volumes)) == 1:
        return None
    place = tuple(facts.volumes[:n].count(volume) for n, volume in enumerate(facts.volumes))
    number = sorted(set(facts.volumes))
    return Frames(
        tuple({"frame": float(n)} for n in number), tuple(number.index(v) for v in facts.volumes), place
    )


def _check_terms(facts: _Facts) -> None:
    """Raise ValueError for a text that is not a defined term, or a size that cannot be one."""
    terms = {"patient_position": POSITIONS, "body_part": BODY_PARTS}
    for key, value in facts.contrast.items():
        if key in terms:
            if value not in terms[key]:
                raise ValueError(f"{key} is no defined term")
        elif key not in ("TR_ms", "TE_ms", "flip_deg", "field_T") or not isinstance(value, (int, float)):
            raise ValueError("a contrast that is not on the list")
    if facts.acquisition is not None and facts.acquisition not in ACQUISITIONS:
        raise ValueError("an acquisition that is not on the list")
    if any(size is not None and not 1e-6 < size < 1e5 for size in (*(facts.pixel_mm or ()), facts.slice_mm)):
        raise ValueError("a pixel size that cannot be")
