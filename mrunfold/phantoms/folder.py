"""Simulated folders in fastMRI's format, with the oddities of its files, to try whole-folder work on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from mrunfold.errors import InputError
from mrunfold.io.atomic import atomic_path
from mrunfold.io.disk import new_h5
from mrunfold.masks import draw
from mrunfold.masks.cartesian import seed_from_name
from mrunfold.operators import fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.phantoms.header import simulated_header

__all__ = ["Kind", "generate_folder"]

Kind = Literal["knee", "brain", "mixed"]
NOTICE = "Simulated from ellipses by mrunfold: no scanner, no person."
BRIGHTEST = 5e-4  # of the order of fastMRI's images, so that a lost scale shows
ODD = ("nopadding", "narrow", "test")
ACQUISITIONS = {"knee": ("CORPD_FBK", "CORPDFS_FBK"), "brain": ("AXT2", "AXT1", "AXFLAIR", "AXT1POST")}
WIDTHS = {"knee": (368, 372), "brain": (320, 396, 330, 384)}  # phase lines for images of 320 pixels
PADDED = 0.06  # share of the phase lines that are zero on each side, in knees
ACCEL = 4
PIXEL_MM = {"knee": 0.5, "brain": 0.6875}
THICKNESS = 3  # mm


@dataclass(frozen=True)
class _Volume:
    """What one file is to be; odd: one of ODD or None; padding: zero phase lines on each side."""

    name: str
    kind: str
    odd: str | None
    coils: int
    slices: int
    size: int
    phase: int
    padding: int
    acquisition: str


def generate_folder(
    path: str | os.PathLike[str],
    *,
    volumes: int = 12,
    seed: int = 0,
    kind: Kind = "mixed",
    size: int = 320,
    slices: int = 4,
    max_coils: int = 20,
    noise: float = 0.01,
) -> list[Path]:
    """Write `volumes` simulated multicoil scans into the new or empty folder `path`, and return their paths.

    Knees have 15 coils, k-space 2·size × 368·size/320 and zero-filled outer phase lines; brains 4 to 20 coils
    and widths that differ; "mixed" alternates.  The last three files, named so, are odd (fewer than four
    volumes: as many as there is room for beside a plain one): `…_nopadding` has no encoding limits, so nobody
    knows of its zero filling; `…_narrow` has k-space narrower than its images; `…_test` is undersampled, with
    `mask` and no images.  size: pixels of the square images; max_coils: a cap; noise: standard deviation of
    the complex noise of a coil's image over the brightest tissue.  Each file depends on seed, its place and
    these numbers only, and has simulated=True and a notice.  InputError for numbers out of range.
    """
    folder = Path(path)
    _check(folder, volumes, kind, size, slices, max_coils, noise)
    folder.mkdir(parents=True, exist_ok=True)
    odd = [None] * volumes + list(ODD)[: max(0, min(len(ODD), volumes - 1))]
    odd = odd[-volumes:]
    paths = []
    for place in range(volumes):
        rng = np.random.default_rng((seed, place))
        plan = _plan(place, odd[place], kind, size, slices, max_coils, rng)
        paths.append(folder / plan.name)
        _write(paths[-1], plan, noise * BRIGHTEST, rng)
    return paths


def _check(
    folder: Path, volumes: int, kind: str, size: int, slices: int, max_coils: int, noise: float
) -> None:
    if kind not in get_args(Kind):
        raise InputError(f"a folder is of knee, brain or mixed, got {kind!r}")
    for what, value, low, high in (
        ("volumes", volumes, 1, 9999),
        ("size", size, 32, 512),
        ("slices", slices, 1, 64),
        ("max_coils", max_coils, 1, 64),
        ("noise", noise, 0, 1),
    ):
        if not low <= value <= high:
            raise InputError(f"{what} of a simulated folder is {low} to {high}, got {value}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; name a new one")


def _plan(
    place: int, odd: str | None, kind: str, size: int, slices: int, max_coils: int, rng: np.random.Generator
) -> _Volume:
    part = ("knee", "brain")[place % 2] if kind == "mixed" else kind
    nth = place // 2 if kind == "mixed" else place
    widths, words = WIDTHS[part], ACQUISITIONS[part]
    phase = round(size * widths[nth % len(widths)] / 320)
    if odd == "narrow":
        phase = round(size * 203 / 320)
    return _Volume(
        name=f"{part}_{place + 1:04d}{'_' + odd if odd else ''}.h5",
        kind=part,
        odd=odd,
        coils=min(max_coils, 15 if part == "knee" else int(rng.integers(4, 21))),
        slices=slices,
        size=size,
        phase=phase,
        padding=round(PADDED * phase) if part == "knee" or odd == "nopadding" else 0,
        acquisition=words[nth % len(words)],
    )


def _write(path: Path, plan: _Volume, noise: float, rng: np.random.Generator) -> None:

    stored = 2 * plan.size
    shape = (plan.slices, plan.coils, stored, plan.phase)
    keep = np.ones(plan.phase, bool)
    keep[: plan.padding] = keep[plan.phase - plan.padding :] = False
    test = plan.odd == "test"
    mask = None
    if test:
        # fastMRI has 8 % at R = 4; small volumes need more lines to calibrate from.
        mask = draw(
            "random",
            (stored, plan.phase),
            ACCEL,
            seed=seed_from_name(path.name),
            center_fraction=max(0.08, 10 / plan.phase),
        )
        keep &= mask.array[0]
    maps = simulated_maps(
        plan.coils, (plan.size, plan.phase), torch.Generator().manual_seed(int(rng.integers(2**31)))
    ).numpy()
    anatomy = _ellipses(plan.kind, rng)
    images = []
    with atomic_path(path) as temporary, new_h5(temporary) as (file, disk):
        kspace = file.create_dataset("kspace", shape, np.complex64, chunks=(1, *shape[1:]))
        for index in range(plan.slices):
            image = _draw(anatomy, (plan.size, plan.phase), plan.size, index / plan.slices, rng)
            full = np.zeros(shape[1:], np.complex64)
            start = plan.size - plan.size // 2
            full[:, start : start + plan.size] = maps * image
            full = _fft(full)
            draws = rng.standard_normal((2, *full.shape), dtype=np.float32)
            full = full + noise * np.sqrt(0.5) * (draws[0] + 1j * draws[1])
            full = np.where(keep, full, 0).astype(np.complex64)
            kspace[index] = full
            disk.check()
            images.append(_rss(full, plan.size))
        file["ismrmrd_header"] = _header(plan)
        file.attrs.update({"acquisition": plan.acquisition, "simulated": True, "notice": NOTICE})
        if mask is not None:
            lines = int(mask.calibration[1])
            file["mask"] = keep
            file.attrs.update({"acceleration": ACCEL, "num_low_frequency": lines})
        else:
            volume = np.stack(images)
            file["reconstruction_rss"] = volume
            file.attrs.update({"max": float(volume.max()), "norm": float(np.linalg.norm(volume))})


def _ellipses(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return rows (value added, y, x, half-axis y, half-axis x, angle), lengths in half image heights."""
    if kind == "knee":  # a leg, two bones with a gap, and small structures
        fixed = [
            (0.5, 0, 0, 0.95, 0.7, 0),
            (0.4, -0.5, 0, 0.42, 0.42, 0.1),
            (0.4, 0.5, 0.05, 0.4, 0.38, -0.1),
        ]
        count, spread = 12, 0.55
    else:  # a head: scalp, brain, ventricles
        fixed = [
            (0.9, 0, 0, 0.85, 0.68, 0), (-0.5, 0, 0, 0.78, 0.61, 0), (0.35, -0.1, 0.12, 0.22, 0.07, 0.2),
            (0.35, -0.1, -0.12, 0.22, 0.07, -0.2),
        ]  # fmt: skip
        count, spread = 20, 0.5
    small = np.column_stack(
        [
            rng.uniform(-0.25, 0.25, count),
            rng.uniform(-spread, spread, count),
            rng.uniform(-spread, spread, count) * 0.8,
            rng.uniform(0.02, 0.2, count),
            rng.uniform(0.02, 0.2, count),
            rng.uniform(0, np.pi, count),
        ]
    )
    return np.concatenate([np.array(fixed, dtype=float), small])


def _draw(
    ellipses: np.ndarray, shape: tuple[int, int], size: int, height: float, rng: np.random.Generator
) -> np.ndarray:
    """Return an image complex64, with smooth phase and edges a pixel wide; height: of the slice, 0 to 1."""
    y = (np.arange(shape[0])[:, None] - shape[0] // 2) * 2 / size
    x = (np.arange(shape[1])[None, :] - shape[1] // 2) * 2 / size
    image = np.zeros(shape)
    shrink = 1 - 0.3 * height
    for value, y0, x0, a, b, angle in ellipses:
        dy, dx = y - y0, x - x0
        u = (np.cos(angle) * dy + np.sin(angle) * dx) / (a * shrink)
        v = (np.cos(angle) * dx - np.sin(angle) * dy) / (b * shrink)
        distance = (np.sqrt(u**2 + v**2) - 1) * min(a, b) * shrink * size / 2  # about pixels from the edge
        image += value * 0.5 * (1 - np.tanh(2 * distance))
    slope = rng.uniform(-1, 1, 4)
    phase = slope[0] * np.pi + slope[1] * y + slope[2] * x + slope[3] * x * y
    image = np.clip(image, 0, None)
    return (BRIGHTEST * image / max(image.max(), 1e-9) * np.exp(1j * phase)).astype(np.complex64)


def _fft(image: np.ndarray) -> np.ndarray:
    return fft2c(torch.from_numpy(image)).numpy()


def _rss(kspace: np.ndarray, size: int) -> np.ndarray:
    """Return the square image, zero at the sides where k-space is narrower; N//2 stays the centre."""
    rss = np.linalg.norm(ifft2c(torch.from_numpy(kspace)).numpy(), axis=0)
    rss = rss[rss.shape[0] // 2 - size // 2 :][:size]
    width = rss.shape[1]
    if width >= size:
        start = width // 2 - size // 2
        return rss[:, start : start + size].astype(np.float32)
    wide = np.zeros((size, size), np.float32)
    start = size // 2 - width // 2
    wide[:, start : start + width] = rss
    return wide


def _header(plan: _Volume) -> str:
    mm = PIXEL_MM[plan.kind]
    sampled = plan.phase - 2 * plan.padding
    return simulated_header(
        plan.coils,
        encoded=(2 * plan.size, plan.phase),
        encoded_mm=(2 * plan.size * mm, plan.phase * mm),
        recon=(plan.size, plan.size),
        recon_mm=(plan.size * mm, plan.size * mm),
        thickness=THICKNESS,
        lines=None if plan.odd == "nopadding" else (sampled, plan.phase // 2 - plan.padding),
    )
