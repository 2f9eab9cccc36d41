"""Draw and score radial and spiral scans: python docs/pictures/trajectories.py DATA OUT.png.

DATA: the folder with kspace/, measured scans.  Each is reconstructed from all its interleaves, a third and a
tenth; what is scored against is the least squares image of all.  Classical methods have the better of two
weights; BART's `pics -t` is run beside where `bart` is installed.  The table is printed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
import torch

from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.masks import draw
from mrunfold.methods.registry import get_method
from mrunfold.metrics import psnr
from mrunfold.prepare_trajectory import build_trajectory_problem
from mrunfold.problem import Problem

WEIGHTS = (0.002, 0.01)
BART_WEIGHTS = (0.002, 0.01)
PARTS = (1, 3, 10)


@dataclass(frozen=True)
class Along:
    """A measured scan: its name, k-space (coil, readout, interleaf), trajectory, matrix and kind of mask."""

    name: str
    kspace: np.ndarray
    trajectory: np.ndarray
    matrix: tuple[int, int]
    mask: str


def scans(data: Path) -> list[Along]:
    """Return the measured scans off the grid of the shared data."""
    knoll = scipy.io.loadmat(data / "kspace" / "knoll_abdomen_radial_GA600.mat")["k"][None]
    golden = np.pi / 2 + np.deg2rad(111.246117975) * np.arange(600)
    abdomen = spokes(np.linspace(-192, 192, 384), golden)
    phantom = np.squeeze(read_cfl(data / "kspace" / "smsnlinv_radial_kMB1_top_SP69.cfl")).transpose(2, 0, 1)
    turns = spokes((np.arange(384) - 191.5) / 2, 2 * np.pi * np.arange(69) / 69)
    spiral = scipy.io.loadmat(data / "kspace" / "espirit_spiral.mat")
    k = np.stack([spiral["k"].real * 260, spiral["k"].imag * 360], axis=-1)
    return [
        Along("abdomen, radial, 1 coil", knoll, abdomen, (384, 384), "first"),
        Along("phantom, radial, 16 coils", phantom, turns, (192, 192), "every"),
        Along("phantom, spiral, 8 coils", spiral["data"].transpose(2, 0, 1), k, (260, 360), "every"),
    ]


def spokes(r: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the trajectory (readout, spoke, 2) of spokes at `angle`, samples at `r`."""
    return np.stack([r[:, None] * np.sin(angle), r[:, None] * np.cos(angle)], axis=-1)


def magnitude(x: torch.Tensor) -> np.ndarray:
    """Return the magnitude (y, x) of an image (set, y, x)."""
    return torch.linalg.vector_norm(x, dim=0).numpy()


def timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return what `call` returns, and its seconds."""
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start


def bart_pics(problem: Problem, scan: Along, kept: np.ndarray, weight: float) -> np.ndarray:
    """Return BART's L1-wavelet image with the problem's own maps and whitened samples, in its units."""
    A = problem.A
    maps = A.coil_maps()
    assert maps is not None
    roots = A.weights.sqrt().numpy()  # type: ignore[attr-defined]
    y = np.divide(problem.y.numpy(), roots, out=np.zeros_like(problem.y.numpy()), where=roots > 0)
    lines = kept.any(axis=0)
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder)
        flat = np.concatenate([scan.trajectory, np.zeros((*scan.trajectory.shape[:2], 1))], axis=-1)
        write_cfl(stem / "t", flat[:, lines].transpose(2, 0, 1).astype(np.complex64))
        write_cfl(stem / "y", y[:, :, lines].transpose(1, 2, 0)[None])
        write_cfl(stem / "s", maps.numpy().transpose(2, 3, 1, 0)[:, :, None, :, :])
        how = ["bart", "pics", "-l1", f"-r{weight}", "-i60", "-e", "-t", "t", "y", "s", "x"]
        subprocess.run(how, cwd=folder, check=True, capture_output=True)
        image = read_cfl(stem / "x.cfl")
    image = image.reshape(*scan.matrix, -1)
    return np.linalg.norm(image, axis=-1)


def methods(problem: Problem, scan: Along, kept: np.ndarray) -> dict[str, list[Callable[[], np.ndarray]]]:
    """Return calls for images by the methods' names: one, or one for each weight to choose from."""

    def ours(name: str, **parameters: float) -> Callable[[], np.ndarray]:
        return lambda: magnitude(get_method(name, **parameters)(problem).mean)

    found = {
        "zero-filled": [ours("zero_filled")],
        "SENSE": [ours("sense")],
        "L1-wavelet": [ours("l1_wavelet", lamda=w) for w in WEIGHTS],
        "TV": [ours("tv", lamda=w) for w in WEIGHTS],
        "unfold": [ours("unfold")],
    }
    if shutil.which("bart"):
        found["BART pics -l1"] = [
            lambda w=w: bart_pics(problem, scan, kept, w)  # type: ignore[misc]
            for w in BART_WEIGHTS
        ]
    return found


def scored(image: np.ndarray, truth: np.ndarray | None) -> float:
    """Return PSNR after the scale that fits best, which programs choose differently; NaN without a truth."""
    if truth is None or not np.isfinite(image).all():
        return float("nan")
    scale = float((image * truth).sum() / max((image**2).sum(), 1e-12))
    return psnr(truth, scale * image, data_range=float(truth.max()))


def main(data: Path, out: Path) -> None:
    """Print the table and draw the picture."""
    from matplotlib import pyplot as plt

    rows, pictures = [], []
    for scan in scans(data):
        for part in PARTS:
            mask = draw(scan.mask, scan.kspace.shape[1:], part, seed=0)
            problem = build_trajectory_problem(scan.kspace, scan.trajectory, scan.matrix, mask.array)
            truth = None if problem.target is None else magnitude(problem.target)
            images, row = [], [scan.name, str(int(mask.array.any(axis=0).sum()))]
            for calls in methods(problem, scan, mask.array).values():
                found = [timed(call) for call in calls]
                best = max(found, key=lambda one: np.nan_to_num(scored(one[0], truth)))
                value = scored(best[0], truth)
                row.append(f"{best[1]:.1f} s" if truth is None else f"{value:.1f}, {best[1]:.1f} s")
                images.append(best[0])
            rows.append(row)
            pictures.append([*images, images[1] * 0 if truth is None else truth])
            print(row, file=sys.stderr, flush=True)
    names = ["zero-filled", "SENSE", "L1-wavelet", "TV", "unfold", "BART pics -l1"][: len(rows[0]) - 2]
    print(rows_markdown(["scan", "interleaves", *names], rows))
    figure, axes = plt.subplots(
        len(pictures), len(names) + 1, figsize=(2 * len(names) + 2, 2 * len(pictures))
    )
    for line, (images, row) in enumerate(zip(pictures, rows, strict=True)):
        for place, (image, axis) in enumerate(zip(images, axes[line], strict=True)):
            axis.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 99.5) or 1)
            axis.set_xticks([])
            axis.set_yticks([])
            if line == 0:
                axis.set_title([*names, "all, least squares"][place], fontsize=8)
        axes[line][0].set_ylabel(f"{row[0]}\n{row[1]} interleaves", fontsize=6)
    figure.tight_layout(pad=0.2)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    torch.manual_seed(0)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
