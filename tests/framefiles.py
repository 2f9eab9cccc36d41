"""ISMRMRD files of several frames, written by ismrmrd-python: echoes, repetitions, averages, planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rawfiles import coil_kspace, header_xml, letter_f, write_acquisitions

SHAPE, COILS, NOISE = (32, 28), 4, 0.02
AXIAL = {"read_dir": (0.0, 1.0, 0.0), "phase_dir": (1.0, 0.0, 0.0), "slice_dir": (0.0, 0.0, -1.0)}
SAGITTAL = {"read_dir": (0.0, 0.0, -1.0), "phase_dir": (0.0, 1.0, 0.0), "slice_dir": (1.0, 0.0, 0.0)}
CORONAL = {"read_dir": (0.0, 0.0, -1.0), "phase_dir": (1.0, 0.0, 0.0), "slice_dir": (0.0, -1.0, 0.0)}


def places(slices: int = 2) -> np.ndarray:
    """Images of each slice (slice, y, x), none like another."""
    one = letter_f(SHAPE)
    return np.stack([one if s % 2 == 0 else 0.5 * one[::-1] for s in range(slices)])


def kspace_of(factor: complex = 1.0, slices: int = 2, seed: int = 0, noise: float = NOISE) -> np.ndarray:
    """k-space (slice, coil, readout, phase) of the images times `factor`, with the same coils each time."""
    clean = coil_kspace(factor * places(slices), COILS, noise=0.0)
    draws = np.random.default_rng(seed).standard_normal((2, *clean.shape))
    return (clean + noise * np.sqrt(0.5) * (draws[0] + 1j * draws[1])).astype(np.complex64)


def write_frames(
    path: Path,
    frames: Sequence[tuple[np.ndarray, Mapping[str, Any]]],
    sequence: str = "",
    axes: Sequence[Mapping[str, Any]] = (AXIAL,),
    step_mm: float = 6.0,
) -> Path:
    """Write k-space (slice, coil, readout, phase) of frames and the fields of each one's acquisitions.

    sequence: XML inside of sequenceParameters; axes: directions of each slice, the last for all others.
    """
    rows = []
    for kspace, fields in frames:
        for s, one in enumerate(kspace):
            directions = axes[min(s, len(axes) - 1)]
            position = tuple(step_mm * s * np.asarray(directions["slice_dir"]))
            for line in range(one.shape[-1]):
                about = {"kspace_encode_step_1": line, "slice": s, "position": position}
                rows.append((one[..., line], {**about, **directions, **fields}))
    xml = header_xml(frames[0][0], SHAPE)
    if sequence:
        end = f"<sequenceParameters>{sequence}</sequenceParameters></ismrmrdHeader>"
        xml = xml.replace("</ismrmrdHeader>", end)
    return write_acquisitions(path, rows, xml)
