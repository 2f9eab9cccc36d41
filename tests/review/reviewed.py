"""Small results as `recon` writes them, without the work of reconstructing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrunfold.export import header_facts
from mrunfold.io.frames import Frames
from mrunfold.io.scan import Geometry, Header
from mrunfold.pipeline.volume import open_writer

DIGEST = "ab" * 32
AXIAL = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))  # readout to posterior, phase to left


def header(
    shape: tuple[int, int, int],
    frame=None,
    pixel_mm=(1.5, 1.0),
    step=4.0,
    volumes: tuple[int, ...] | None = None,
    apart_mm: tuple[float, ...] | None = None,
) -> Header:
    """frame: read, phase and normal directions in LPS, None for unknown; volumes: of each slice the volume;
    apart_mm: by how much each of them lies farther along the normal, None: all in one place."""
    geometry = None
    counted = tuple(volumes[:i].count(v) for i, v in enumerate(volumes or ()))
    labels = tuple({"repetition": float(v)} for v in sorted(set(volumes or ())))
    if frame is not None:
        read, phase, normal = (np.asarray(v, float) for v in frame)
        places = np.arange(shape[0])
        if volumes is not None:
            places = np.array(counted, float)
            if apart_mm is not None:
                places += np.array([apart_mm[v] for v in volumes]) / step
        positions = places[:, None] * step * normal + np.array([3.0, -20.0, 11.0])
        geometry = Geometry(positions, read, phase, normal)
    return Header(
        format="mrd",
        slices=shape[0],
        coils=1,
        matrix=shape[1:],
        unoversampled=shape[1],
        crop=shape[1:],
        acquisition=None,
        pixel_mm=pixel_mm,
        slice_mm=step,
        geometry=geometry,
        contrast={},
        frames=None if volumes is None else Frames(labels, volumes, counted),
    )


def write_result(
    folder: Path,
    volumes: dict[str, np.ndarray],
    method: str = "unfold",
    frame=None,
    frames=None,
    apart_mm=None,
    **changes,
) -> Path:
    """Write recon.h5 with these datasets (slice, readout, phase) and the attributes of a real one.

    frames: of each slice the volume of the scan that it is of, None where there is one.
    """
    folder.mkdir(parents=True)
    shape = volumes["reconstruction"].shape
    settings = {
        "mask": "poisson",
        "accel": 4.0,
        "calibration": None,
        "center_fraction": None,
        "method": method,
        "parameters": {},
        "seed": 0,
        "coils": None,
    }
    attributes = {
        "mrunfold_version": "0.1.0",
        "input_sha256": DIGEST,
        "input_format": "mrd",
        "header": header_facts(header(shape, frame, volumes=frames, apart_mm=apart_mm), range(shape[0])),
        "method": method,
        "weights_sha256": "cd" * 32 if method == "unfold" else "none",
        "settings": settings,
        "slices": list(range(shape[0])),
        "mask": {"kind": "poisson", "asked": 4.0, "delivered": [3.98, 4.01]},
        "target_kind": "combined",
        "flags": ["simulated data: made for a test"],
    }
    with open_writer(folder / "recon.h5", shape[0], shape[1:]) as writer:
        for name, volume in volumes.items():
            for place, image in enumerate(volume):
                writer.put(name, place, image)
        writer.describe(attributes | changes)
    return folder


def phantom(count: int = 5, shape: tuple[int, int] = (48, 40), seed: int = 0) -> dict[str, np.ndarray]:
    """Reference, a noisy reconstruction, its spread and three samples; a bar says which slice it is."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    head = 0.5 * ((y / 0.9) ** 2 + (x / 0.8) ** 2 < 1)
    target = np.stack([head.copy() for _ in range(count)])
    for place in range(count):
        target[place, 4 + 8 * place : 10 + 8 * place, 12:28] = 1.0
    std = 0.02 + 0.1 * np.broadcast_to(np.abs(x), target.shape)
    draws = [np.abs(target + std * rng.standard_normal(target.shape)) for _ in range(3)]
    volumes = {"reconstruction": np.mean(draws, axis=0), "target": target, "std": std}
    volumes |= {f"sample_{n + 1:02d}": draw for n, draw in enumerate(draws)}
    return {name: volume.astype(np.float32) for name, volume in volumes.items()}


def zero_filled(seed: int = 1) -> dict[str, np.ndarray]:
    """What a zero_filled result of the same scan holds."""
    target = phantom()["target"]
    blurred = sum(np.roll(target, (a, b), (1, 2)) for a in (-2, 0, 2) for b in (-2, 0, 2)) / 9
    return {"reconstruction": blurred.astype(np.float32), "target": target}
