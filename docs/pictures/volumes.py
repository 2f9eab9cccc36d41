"""Compare a 3-D scan with BART's 3-D `pics`: python docs/pictures/volumes.py OUT.png [SIDE].

BART simulates its phantom in three dimensions, seen by eight coils with noise, and draws a variable-density
Poisson-disc mask in ky–kz; SIDE³ samples, 64 where it is not given.  Each program is a process of its own:
seconds and peak memory are those of the whole command, with one thread.  BART's maps (`ecalib`) are counted.
The table is printed, the picture shows three planes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.io.cfl import read_cfl
from mrunfold.metrics import psnr

WEIGHTS = (0.0005, 0.002, 0.008)
OURS = ("zero_filled", "sense", "unfold")
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def measured(folder: Path, *commands: Sequence[str]) -> tuple[float, float]:
    """Run commands one after the other in `folder`; return their seconds and the largest peak memory, MB."""
    start, peak = time.perf_counter(), 0
    for words in commands:
        process = subprocess.Popen(
            [*map(str, words)], cwd=folder, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{words[0]} {words[1]} failed; is BART installed?")
        peak = max(peak, usage.ru_maxrss)
    return time.perf_counter() - start, peak / 1024


def simulate(folder: Path, side: int) -> np.ndarray:
    """Write the scan; return the root sum of squares of its coil images without noise, (z, y, x) reversed."""
    for words in (
        ("phantom", "-3", "-x", side, "-k", "-s", 8, "clean"),
        ("phantom", "-3", "-x", side, "-s", 8, "coils"),
        ("rss", 8, "coils", "truth"),
        ("noise", "-s", 1, "-n", 400 * (side / 64) ** 3, "clean", "full"),
        ("poisson", "-Y", side, "-Z", side, "-y", 2, "-z", 2, "-C", 20, "-v", "-s", 1, "mask"),
        ("fmac", "full", "mask", "scan"),
    ):
        subprocess.run(["bart", *map(str, words)], cwd=folder, check=True, capture_output=True)
    return np.abs(read_cfl(folder / "truth.cfl"))


def scored(image: np.ndarray, truth: np.ndarray) -> float:
    """Return PSNR in dB after the scale that fits best, which programs choose differently."""
    scale = float((image * truth).sum() / (image**2).sum())
    return psnr(truth, scale * image, data_range=float(truth.max()))


def main(out: Path, side: int) -> None:
    """Print the table and draw the picture."""
    from matplotlib import pyplot as plt

    rows, shown = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = simulate(folder, side)
        for method in OURS:
            program = [Path(sys.executable).with_name("mrunfold"), "recon", "scan.cfl", "--method", method]
            spent = measured(
                folder, [*program, "--target", "rss", "--out", method, "--check", "0", "--quiet"]
            )
            with h5py.File(folder / method / "recon.h5") as file:
                image = np.moveaxis(file["reconstruction"][:], 0, -1)
            shown[method] = image
            rows.append([f"mrunfold {method}", scored(image, truth), *spent])
            print(rows[-1], file=sys.stderr, flush=True)
        best: list = []
        for weight in WEIGHTS:
            how = ["bart", "pics", "-S", "-l1", f"-r{weight}", "-i", "50", "scan", "maps", "image"]
            spent = measured(folder, ["bart", "ecalib", "-m1", "-c0.01", "scan", "maps"], how)
            # The maps' root sum of squares is 1 in the object: the image's magnitude is that of the coils.
            image = np.abs(read_cfl(folder / "image.cfl"))
            row = [f"BART ecalib and pics -l1, r = {weight:g}", scored(image, truth), *spent]
            print(row, file=sys.stderr, flush=True)
            if not best or row[1] > best[1]:
                best, shown["BART pics"] = row, image
        rows.append(best)
    shown["without noise"] = truth
    table = [
        [name, f"{value:.2f}", f"{seconds:.1f}", f"{memory:.0f}"] for name, value, seconds, memory in rows
    ]
    print(rows_markdown(["", "PSNR, dB", "s", "peak memory, MB"], table))
    middle = side // 2
    figure, axes = plt.subplots(3, len(shown), figsize=(2 * len(shown), 6))
    for place, (title, image) in enumerate(shown.items()):
        scale = float((image * truth).sum() / (image**2).sum()) / truth.max()
        for axis, plane in zip(
            axes[:, place], (image[middle], image[:, middle], image[:, :, middle]), strict=True
        ):
            axis.imshow(scale * plane, cmap="gray", vmin=0, vmax=0.8)
            axis.axis("off")
        axes[0, place].set_title(title, fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 64)
