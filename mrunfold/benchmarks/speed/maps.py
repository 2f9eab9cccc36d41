"""`mrunfold bench maps`: ESPIRiT here, by SigPy and by BART, in one run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.coils import EspiritSettings, maps_from_block
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.operators import fft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.training.images import ImageBank
from mrunfold.training.scenes import random_image

__all__ = ["MapsRow", "agreement", "markdown", "measure", "window_errors"]


@dataclass(frozen=True)
class MapsRow:
    """One program's seconds, peak resident memory (MiB, what it had before included) and agreement.

    overlap: least |⟨maps, SigPy's maps⟩| of the object's pixels; support: pixels in one support only, share.
    """

    name: str
    seconds: float
    memory_mib: float
    overlap: float
    support: float


def measure(
    coils: int = 15,
    size: int = 320,
    calibration: int = 24,
    report: Callable[[MapsRow], None] = lambda row: None,
) -> list[MapsRow]:
    """Return a row for torch, SigPy, and BART where it is installed, on a simulated head, each in a process.

    Seconds are of the calibration alone, after imports, once warm for torch (compiled kernels, threads);
    BART's include its start and the reading and writing of files, which it cannot do without.
    """
    kspace, inside = _scan(coils, size)
    start = size // 2 - calibration // 2
    block = kspace[:, start : start + calibration, start : start + calibration]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "block.npy", block)
        found = {name: _in_process(name, Path(folder), size, calibration) for name in ("torch", "sigpy")}
        bart = shutil.which("bart")
        if bart is not None:
            found["bart"] = _bart(bart, kspace, calibration, Path(folder))
    reference = found["sigpy"][0]
    rows = []
    for name, (maps, seconds, memory) in found.items():
        overlap, support = agreement(maps, reference, inside)
        rows.append(MapsRow(name, seconds, memory, overlap, support))
        report(rows[-1])
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows of `MapsRow` as a Markdown table."""
    names = {"torch": "ours (`--maps torch`)", "sigpy": "SigPy (`--maps sigpy`)", "bart": "BART `ecalib`"}
    ours = next(row["seconds"] for row in rows if row["name"] == "torch")
    lines = [
        [
            names[row["name"]],
            f"{row['seconds']:.2f}",
            f"{row['seconds'] / ours:.1f}",
            f"{row['memory_mib']:.0f}",
            f"{row['overlap']:.4f}",
            f"{100 * row['support']:.2f} %",
        ]
        for row in rows
    ]
    return rows_markdown(
        ["program", "s", "over ours", "peak memory, MiB", "agreement with SigPy", "support differs"], lines
    )


def agreement(maps: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Return the least |⟨maps, reference⟩| / norms where both are (coil, y, x), and the support's difference.

    inside: bool (y, x), the object.
    """
    norms = np.linalg.norm(maps, axis=0) * np.linalg.norm(reference, axis=0)
    both = (norms > 0) & inside
    overlap = np.abs((maps.conj() * reference).sum(axis=0))[both] / norms[both]
    support = (np.abs(maps).sum(axis=0) > 0) != (np.abs(reference).sum(axis=0) > 0)
    return float(overlap.min()), float(support.mean())


def window_errors(
    bank: ImageBank, lines: int, windows: Sequence[int], scans: int = 8
) -> list[tuple[int, float, float, float]]:
    """Return (window, error, kept, air) for maps of a 24×`lines` region in that many columns, zeros around.

    Means over simulated scans of the bank's images, 96 to 192 samples an axis, 4 to 16 coils, σ = 0.01 of the
    image's height.  error: ‖coil images − maps × combined image‖ / ‖coil images‖, noise-free images; kept:
    share of the object in the support; air: share of the rest in it.
    """
    found: dict[int, list[tuple[float, float, float]]] = {width: [] for width in windows}
    for scan in range(scans):
        generator = torch.Generator().manual_seed(scan)
        size, coils = (96, 128, 160, 192)[scan % 4], (4, 8, 12, 16)[(scan // 4 + scan) % 4]
        image = random_image(bank, (size, size - 16), generator)
        images = simulated_maps(coils, (size, size - 16), generator) * image
        kspace = fft2c(images)
        kspace = kspace + 0.01 * torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
        left = (size - 16) // 2 - lines // 2
        block = kspace[:, size // 2 - 12 : size // 2 + 12, left : left + lines].numpy()
        for width in windows:
            settings = EspiritSettings(pad_below=width)
            maps = torch.from_numpy(maps_from_block(block, (size, size - 16), settings)[0])
            error = images - maps * (maps.conj() * images).sum(dim=0)
            inside, support = image.abs() > 0.1, (maps != 0).any(dim=0)
            found[width].append(
                (
                    float(torch.linalg.vector_norm(error) / torch.linalg.vector_norm(images)),
                    float(support[inside].float().mean()),
                    float(support[~inside].float().mean()),
                )
            )
    return [(width, *np.mean(rows, axis=0).tolist()) for width, rows in found.items()]


def _scan(coils: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, size)
    y, x = axis[:, None], axis[None]
    image = torch.sigmoid(30 * (1 - (y / 0.8) ** 2 - (x / 0.65) ** 2)) * (1 + 0.4 * torch.sin(9 * y) * x)
    kspace = fft2c(simulated_maps(coils, (size, size), generator) * image)
    kspace = kspace + 0.005 * torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    return kspace.numpy(), (image > 0.5).numpy()


def _in_process(backend: str, folder: Path, size: int, width: int) -> tuple[np.ndarray, float, float]:
    """Return maps, seconds and peak memory of a backend that has a process to itself."""
    code = f"""
import time, numpy as np
from mrunfold.coils import EspiritSettings, maps_from_block
block = np.load("block.npy")
settings = EspiritSettings(calibration_width={width}, backend={backend!r})
if {backend!r} == "torch":
    maps_from_block(block, ({size}, {size}), settings)
start = time.perf_counter()
maps = maps_from_block(block, ({size}, {size}), settings)
seconds = time.perf_counter() - start
np.save({backend + ".npy"!r}, maps[0])
np.save("seconds.npy", seconds)
"""
    memory = _run([sys.executable, "-c", code], folder)
    return np.load(folder / f"{backend}.npy"), float(np.load(folder / "seconds.npy")), memory


def _bart(bart: str, kspace: np.ndarray, width: int, folder: Path) -> tuple[np.ndarray, float, float]:
    write_cfl(folder / "kspace", kspace.transpose(1, 2, 0)[:, :, None])
    start = time.perf_counter()
    memory = _run([bart, "ecalib", "-m1", f"-r{width}", "-c0.95", "kspace", "maps"], folder)
    seconds = time.perf_counter() - start
    maps = read_cfl(folder / "maps").squeeze()
    return maps.transpose(2, 0, 1), seconds, memory


def _run(command: list[str], folder: Path) -> float:
    """Run a program and return its peak resident memory, MiB; RuntimeError where it fails."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{Path(command[0]).name} failed: {output.decode()[-500:]}")
    process.returncode = 0
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
