"""`mrunfold bench noise`: the noise level found in k-space, against the one that was put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.datasets import FullSlice
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.store import about
from mrunfold.coils import noise_model
from mrunfold.coils.edge import edge_noise
from mrunfold.errors import InputError
from mrunfold.masks import draw
from mrunfold.operators import fft2c, ifft2c
from mrunfold.phantoms.coils import simulated_maps

__all__ = ["CONDITIONS", "markdown", "measure", "measure_real", "measure_simulated", "noisy_scan"]

CONDITIONS = ("plain", "correlated", "hann", "tukey", "fermi", "elliptical", "zero-padded", "partial Fourier")
MASKS = ("full", "random:4", "poisson:8")
OBJECTS = ("head", "body")  # inside the field of view, and reaching its edges


def noisy_scan(
    size: int, coils: int, sigma: float, condition: str, kind: str = "head", seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return k-space (coil, y, x) of ellipses, what was acquired, and the covariance of its noise.

    condition: one of `CONDITIONS`; the covariance is that before a window was put on k-space, thus of its
    centre; kind: one of `OBJECTS`.
    """
    rng = np.random.default_rng((seed, size, coils))
    maps = simulated_maps(coils, (size, size), torch.Generator().manual_seed(seed))
    image = torch.from_numpy(_image(size, kind, rng).astype(np.complex64))
    mixing = np.eye(coils, dtype=np.complex128)
    if condition == "correlated" and coils > 1:
        draws = rng.standard_normal((2, coils, coils))
        mixing = mixing + 0.35 / coils**0.5 * (draws[0] + 1j * draws[1])
        mixing = rng.uniform(0.6, 1.7, coils)[:, None] * mixing
    draws = rng.standard_normal((2, coils, size * size))
    noise = sigma * mixing @ (draws[0] + 1j * draws[1]) / 2**0.5
    window = _window(size, condition)
    kspace = (fft2c(maps * image).numpy() + noise.reshape(coils, size, size)) * window
    return kspace.astype(np.complex64), window > 0, sigma**2 * mixing @ mixing.conj().T


def measure_simulated(
    coils: Sequence[int] = (1, 2, 4, 8, 16, 32),
    sizes: Sequence[int] = (64, 160, 320),
    sigmas: Sequence[float] = (0.001, 0.01, 0.1),
    report: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Return, a row each condition, mask, object and number of coils, found over true levels.

    Median and worst over sizes, levels and coils; `edge` of the edge of k-space alone, `both` of the rule.
    """
    rows: list[dict[str, Any]] = []
    for condition in CONDITIONS:
        for wanted in MASKS:
            for kind in OBJECTS:
                for count in coils:
                    ratios: dict[str, list[float]] = {"edge": [], "both": []}
                    for size in sizes:
                        for sigma in sigmas:
                            for rule, found in _ratios(size, count, sigma, condition, kind, wanted).items():
                                ratios[rule] += found
                    rows.append({"condition": condition, "mask": wanted, "object": kind, "coils": count}
                                | {rule: _summary(found) for rule, found in ratios.items()})  # fmt: skip
            last = rows[-len(OBJECTS) * len(coils) :]
            report(f"{condition}, {wanted}: worst {max((r['both'][1] for r in last), key=_off):.2f}")
    return rows


def measure_real(slices: Sequence[FullSlice], kinds: Sequence[str] = MASKS) -> list[dict[str, Any]]:
    """Return, a row each scan and mask, found levels over those of the empty corners of its image."""
    rows = []
    for full in slices:
        air = _corners(full.kspace)
        for wanted in kinds:
            keep = _kept(np.ones(full.kspace.shape[1:], bool), wanted)
            measured = np.where(keep, full.kspace, 0)
            model, edge = noise_model(measured, keep), edge_noise(measured, keep)
            if edge is None:
                raise InputError(f"{full.name} has no signal; leave it out")
            rows.append(
                {
                    "data": full.name, "mask": wanted, "source": model.source, "profile": model.profile,
                    "edge": _summary(np.sqrt(np.diagonal(edge.covariance).real) / air),
                    "both": _summary(model.levels / air),
                }
            )  # fmt: skip
    return rows


def markdown(found: dict[str, Any]) -> str:
    """Return what was measured as Markdown tables: simulated scans, then measured ones."""
    tables = []
    for rows in (found["simulated"], found["real"]):
        if rows:
            names = [name for name in rows[0] if name not in ("edge", "both")]
            cells = [
                [*(str(row[name]) for name in names),
                 *(f"{value:.2f}" for rule in ("edge", "both") for value in row[rule])]
                for row in rows
            ]  # fmt: skip
            heads = ["edge, median", "edge, worst", "both, median", "both, worst"]
            tables.append(rows_markdown([*names, *heads], cells))
    return "\n".join(tables)


def measure(
    slices: Sequence[FullSlice],
    coils: Sequence[int],
    sizes: Sequence[int],
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Return what `measure_simulated` and `measure_real` find, and what ran them."""
    simulated = measure_simulated(coils, sizes, report=report)
    return {**about("noise"), "simulated": simulated, "real": measure_real(slices)}


def _ratios(
    size: int, coils: int, sigma: float, condition: str, kind: str, wanted: str
) -> dict[str, list[float]]:
    kspace, acquired, covariance = noisy_scan(size, coils, sigma, condition, kind, seed=coils)
    keep = _kept(acquired, wanted)
    measured, truth = np.where(keep, kspace, 0), np.sqrt(np.diagonal(covariance).real)
    edge = edge_noise(measured, keep)
    levels = truth * np.nan if edge is None else np.sqrt(np.diagonal(edge.covariance).real)
    return {
        "edge": list(levels / truth),
        "both": list(noise_model(measured, keep).levels / truth),
    }


def _kept(acquired: np.ndarray, wanted: str) -> np.ndarray:
    if wanted == "full":
        return acquired
    name, _, accel = wanted.partition(":")
    return acquired & np.asarray(draw(name, acquired.shape, float(accel), seed=0).array, bool)


def _off(ratio: float) -> float:
    return abs(float(np.log(ratio)))


def _summary(ratios: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the median, and the ratio farthest from 1."""
    return float(np.median(ratios)), max(map(float, ratios), key=_off)


def _corners(kspace: np.ndarray) -> np.ndarray:
    """Return √E|n|² of each coil, (coil,), in the corners of its image, a twentieth of each side wide."""
    images = ifft2c(torch.from_numpy(kspace)).numpy()
    height, width = (max(4, n // 20) for n in kspace.shape[1:])
    ends = [
        (y, x) for y in (slice(height), slice(-height, None)) for x in (slice(width), slice(-width, None))
    ]
    air = np.concatenate([images[:, y, x].reshape(len(kspace), -1) for y, x in ends], axis=1)
    return np.sqrt(np.mean(np.abs(air) ** 2, axis=1))


def _image(size: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return ellipses with edges a pixel wide and a slow phase, complex (size, size)."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, 2 * size)] * 2, indexing="ij")
    whole = (y / 0.8) ** 2 + (x / 0.65) ** 2 if kind == "head" else (y / 1.3) ** 2 + (x / 1.02) ** 4
    image = 1.0 * (whole < 1)
    for _ in range(20):
        v, u = rng.uniform(-0.6, 0.6, 2)
        a, b = rng.uniform(0.03, 0.25, 2)
        image += rng.uniform(-0.4, 0.6) * (((y - v) / a) ** 2 + ((x - u) / b) ** 2 < 1) * (whole < 1)
    image = image.clip(0).reshape(size, 2, size, 2).mean(axis=(1, 3))
    slope = rng.uniform(-1, 1, 3)
    y, x = y[::2, ::2], x[::2, ::2]
    return image * np.exp(1j * (slope[0] * y + slope[1] * x + slope[2] * x * y))


def _window(size: int, condition: str) -> np.ndarray:
    """Return what k-space is multiplied by, (size, size); 0 where nothing was acquired."""
    u = np.abs(np.arange(size) - size // 2) / (size / 2)
    radius = np.hypot(u[:, None], u[None])
    edge = {"hann": u, "tukey": (u - 0.5) / 0.5}.get(condition)
    if edge is not None:
        side = 0.5 + 0.5 * np.cos(np.pi * edge.clip(0, 1))
        return side[:, None] * side[None]
    if condition == "fermi":
        return 1 / (1 + np.exp((radius - 0.85) / 0.05))
    inside = {
        "elliptical": radius <= 1,
        "zero-padded": (u[:, None] < 0.6) & (u[None] < 0.6),
        "partial Fourier": np.broadcast_to(np.arange(size) >= 3 * size // 8, (size, size)),
    }.get(condition, np.ones((size, size), bool))
    return inside.astype(float)
