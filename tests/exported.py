"""Outputs of `recon` for tests: recon.h5 with known images and geometry, without a reconstruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrunfold.export import header_facts
from mrunfold.io.frames import Frames
from mrunfold.io.scan import Geometry, Header
from mrunfold.pipeline.volume import open_writer

# Columns: read, phase and slice directions, LPS.
X, Y, Z = np.eye(3)


def double_oblique() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = np.deg2rad(25), np.deg2rad(-40)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    read, phase, normal = (turn @ tilt).T
    return read, phase, normal


FRAMES = {
    "axial": (Y, X, -Z),
    "axial, left-handed": (-Y, X, -Z),
    "sagittal": (-Z, Y, X),
    "coronal": (Z, -X, Y),
    "double oblique": double_oblique(),
}
# What a header may say besides sizes; the validators then miss nothing.
CONTRAST = {"TR_ms": 3000.0, "TE_ms": 101.5, "flip_deg": 150.0, "field_T": 2.89, "body_part": "HEAD"}
CONTRAST["patient_position"] = "HFS"


ECHOES = [{"contrast": n, "TE_ms": 4.5 * (n + 1)} for n in range(3)]


def make_header(
    crop: tuple[int, int],
    count: int,
    frame: tuple[np.ndarray, np.ndarray, np.ndarray] | None = FRAMES["axial"],
    *,
    start: tuple[float, float, float] = (12.0, -7.0, 3.0),
    step: float = 6.0,
    pixel_mm: tuple[float, float] | None = (0.7, 0.9),
    contrast: Mapping[str, Any] = CONTRAST,
    acquisition: str | None = None,
    labels: Sequence[dict[str, float]] = (),
    localizer: bool = False,
) -> Header:
    geometry = None
    if frame is not None:
        positions = np.asarray(start) + np.arange(count)[:, None] * step * frame[2]
        geometry = Geometry(positions, *frame)
        if localizer:  # the slices of each of three orientations lie at the same places
            axes = np.repeat([FRAMES[name] for name in ("axial", "sagittal", "coronal")], count, axis=0)
            places = np.asarray(start) + np.tile(np.arange(count), 3)[:, None] * step * axes[:, 2]
            geometry, count = Geometry(places, *axes.swapaxes(0, 1)), 3 * count
        if labels:
            geometry = geometry.take([*range(count)] * len(labels))
    return Header(
        "mrd",
        count * max(1, len(labels)),
        4,
        crop,
        crop[0],
        crop,
        acquisition,
        pixel_mm,
        5.0,
        geometry,
        None,
        False,
        dict(contrast),
        frames=Frames.grid(labels, count) if labels else None,
    )


def write_result(path: Path, header: Header, volumes: Mapping[str, np.ndarray], /, **attributes: Any) -> Path:
    """Write recon.h5 as `recon` does; attributes: what it says of itself, where it should differ."""
    settings = {
        "mask": "poisson", "accel": 8.0, "calibration": None, "center_fraction": None,
        "method": "unfold", "parameters": {"samples": 4}, "seed": 0, "coils": None,
    }  # fmt: skip
    facts = {
        "mrunfold_version": "0.1.0",
        "input_sha256": "ab" * 32,
        "header": header_facts(header, range(header.slices)),
        "method": "unfold",
        "weights_sha256": "cd" * 32,
        "settings": settings,
        "slices": list(range(header.slices)),
        "mask": {"kind": "poisson", "asked": 8.0, "delivered": [7.9, 8.0]},
        "target_kind": "rss",
        "flags": [],
    }
    with open_writer(path, header.slices, header.crop) as writer:
        for name, images in volumes.items():
            for place, image in enumerate(images):
                writer.put(name, place, image)
        writer.describe(facts | attributes)
    return path


def random_volumes(
    header: Header, seed: int = 0, samples: int = 2, scale: float = 1.0
) -> dict[str, np.ndarray]:
    """Reconstruction, std and samples of smooth random magnitudes."""
    rng = np.random.default_rng(seed)
    shape = (header.slices, *header.crop)
    volumes = {"reconstruction": rng.random(shape), "std": 0.03 * rng.random(shape)}
    volumes |= {
        f"sample_{n + 1:02d}": volumes["reconstruction"] + 0.01 * rng.random(shape) for n in range(samples)
    }
    return {name: (scale * values).astype(np.float32) for name, values in volumes.items()}


def dicom_affine(one: Any) -> np.ndarray:
    """The affine (column, row, 1) to LPS of a DICOM image, by PS3.3 C.7.6.2.1.1."""
    orientation = np.array([float(v) for v in one.ImageOrientationPatient])
    between_rows, between_columns = (float(v) for v in one.PixelSpacing)
    position = np.array([float(v) for v in one.ImagePositionPatient])
    return np.stack([orientation[:3] * between_columns, orientation[3:] * between_rows, position], axis=1)
