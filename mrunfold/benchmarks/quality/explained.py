"""`mrunfold bench maps --explain`: what the maps of an undersampled scan explain of the full coil images."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mrunfold.benchmarks.datasets import FullSlice, scanned
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.coils import EspiritSettings, calibration_block, find_whitening, maps_from_block
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.masks import draw
from mrunfold.operators import ifft2c
from mrunfold.phantoms.bodies import BODIES, body

__all__ = ["ExplainedRow", "bodies", "explained", "markdown", "measure"]

OBJECT = 0.1  # of the brightest root sum of squares
OURS = {
    "ours, auto": EspiritSettings(sets="auto"),
    "ours, 1 set": EspiritSettings(),
    "ours, 1 set, no crop": EspiritSettings(crop=0.0),
    "ours, 2 sets": EspiritSettings(sets=2),
    "ours, 2 sets, no crop": EspiritSettings(sets=2, crop=0.0, further_crop=0.0),
    "SigPy": EspiritSettings(backend="sigpy"),
}
BART = {
    "BART ecalib -m1": ["ecalib", "-m1", "kspace", "maps"],
    "BART ecalib -m2": ["ecalib", "-m2", "kspace", "maps"],
    "BART ecalib -m2 -a": ["ecalib", "-m2", "-a", "kspace", "maps"],
    "BART nlinv": ["nlinv", "-m1", "-U", "kspace", "image", "maps"],
}


@dataclass(frozen=True)
class ExplainedRow:
    """What the maps of one program leave of one scan's full coil images.

    left: 10 log₁₀ of energy over what is left of it, dB, in the object; noise: the same if noise alone were
    left, of which a set of maps takes its part; sets: of maps, those that are somewhere not 0.
    """

    data: str
    mask: str
    accel: float
    coils: int
    program: str
    sets: int
    left: float
    noise: float


def bodies() -> Iterator[FullSlice]:
    """Yield simulated scans of bodies that reach and cross the field of view: 8 and 32 coils, 0.4 % noise."""
    for name in BODIES:
        for coils in (8, 32):
            shading = 10.0 if name == "spine" else 3.0
            yield scanned(body(name, (224, 200)), f"{name}/{coils}", coils, 0.004, shading)


def explained(images: np.ndarray, maps: np.ndarray, inside: np.ndarray) -> float:
    """Return 10 log₁₀(‖images‖² / ‖images − P images‖²) in dB over the pixels inside, bool (y, x).

    images: (coil, y, x); maps: (set, coil, y, x), linearly independent in every pixel or 0; P: the projection
    on their span.
    """
    m = maps[:, :, inside].transpose(2, 1, 0)  # (pixel, coil, set)
    c = images[:, inside].T[..., None]
    gram = np.conj(m.transpose(0, 2, 1)) @ m
    ridge = 1e-6 * np.trace(gram, axis1=1, axis2=2).real[:, None, None] + 1e-30
    x = np.linalg.solve(gram + ridge * np.eye(m.shape[2]), np.conj(m.transpose(0, 2, 1)) @ c)
    return float(10 * np.log10(np.sum(np.abs(c) ** 2) / np.sum(np.abs(c - m @ x) ** 2)))


def measure(
    slices: Iterable[FullSlice],
    kinds: Sequence[tuple[str, float]],
    report: Callable[[ExplainedRow], None] = lambda row: None,
) -> list[ExplainedRow]:
    """Return a row for each slice of several coils, mask and program; BART's where it is installed."""
    rows = []
    for full in slices:
        if len(full.kspace) < 2:
            continue
        for kind, accel in kinds:
            mask = draw(kind, full.kspace.shape[-2:], accel, seed=0).array > 0
            measured = np.where(mask, full.kspace, 0).astype(np.complex64)
            coils = find_whitening(measured, mask, None, {})
            images = ifft2c(torch.from_numpy(coils.apply(full.kspace))).numpy()
            rss = np.linalg.norm(images, axis=0)
            inside = rss > OBJECT * rss.max()
            noise = float(10 * np.log10(np.mean(rss[inside] ** 2) / len(images)))
            block = calibration_block(coils.apply(measured), mask, 24)
            for program, maps in _all_maps(coils.apply(measured), block):
                sets = int(np.any(maps, axis=(1, 2, 3)).sum())
                left = explained(images, maps, inside)
                rows.append(ExplainedRow(full.name, kind, accel, len(images), program, sets, left, noise))
                report(rows[-1])
    return rows


def _all_maps(kspace: np.ndarray, block: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    shape = (kspace.shape[1], kspace.shape[2])
    for program, settings in OURS.items():
        yield program, maps_from_block(block, shape, settings)
    bart = shutil.which("bart")
    if bart is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        write_cfl(Path(folder) / "kspace", kspace.transpose(1, 2, 0)[:, :, None])
        for program, command in BART.items():
            try:
                yield program, _bart(bart, command, Path(folder))
            except RuntimeError as error:  # ecalib fails on some scans of many coils: its cell stays empty
                print(f"{program}: {error}", flush=True)


def _bart(bart: str, command: list[str], folder: Path) -> np.ndarray:
    """Return the maps (set, coil, y, x) that a BART command writes; RuntimeError where it fails."""
    done = subprocess.run([bart, *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"bart {command[0]} failed: {done.stdout[-300:]}{done.stderr[-300:]}")
    maps = read_cfl(folder / "maps")
    maps = maps.reshape(*maps.shape[:2], maps.shape[3], -1)  # (y, x, coil, set)
    return maps.transpose(3, 2, 0, 1)


def markdown(rows: Sequence[ExplainedRow]) -> str:
    """Return the rows as a Markdown table, a line for each scan and mask, a column for each program."""
    programs = list(dict.fromkeys(row.program for row in rows))
    lines = []
    for data, mask, accel in dict.fromkeys((r.data, r.mask, r.accel) for r in rows):
        mine = {r.program: r for r in rows if (r.data, r.mask, r.accel) == (data, mask, accel)}
        first = next(iter(mine.values()))
        cells = [f"{mine[p].left:.1f}" if p in mine else "" for p in programs]
        chosen = mine[programs[0]].sets
        lines.append([data, f"{mask} {accel:g}", str(first.coils), str(chosen), f"{first.noise:.1f}", *cells])
    return rows_markdown(["data", "mask", "coils", "sets", "noise alone", *programs], lines)
