"""Stacks of spokes beside BART's 3-D `pics -t`: python docs/pictures/stacks.py OUT.png.

BART simulates its 3-D phantom, seen by four coils with noise, along 75 golden-angle spokes, the same in each
of 12 partitions.  All are kept, the first 25, the first 8.  Ours are slices after one transform along kz.
BART's is one problem in 3-D, of the best of three weights, with maps (`ecalib`) of its own NUFFT's image.
PSNR is against BART's image without noise, each image with the scale that fits it best.  It prints the table.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import mrunfold
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.io.cfl import read_cfl, write_cfl
from mrunfold.metrics import psnr

SIDE, PARTITIONS, COILS, SPOKES = 48, 12, 4, (75, 25, 8)
METHODS = ("zero_filled", "sense", "unfold")
WEIGHTS = (0.0005, 0.002, 0.008)


def bart(folder: Path, *words: object) -> None:
    subprocess.run(["bart", *map(str, words)], cwd=folder, check=True, capture_output=True)


def simulate(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return k-space (readout, partition, spoke, coil) and the trajectory (3, readout, partition, spoke)."""
    bart(folder, "traj", "-r", "-G", "-x", 2 * SIDE, "-y", SPOKES[0], "full")
    bart(folder, "scale", 0.5, "full", "plane")
    plane = read_cfl(folder / "plane.cfl").real
    whole = np.repeat(plane[:, :, None], PARTITIONS, axis=2)
    whole[2] = (np.arange(PARTITIONS) - PARTITIONS // 2)[:, None]
    write_cfl(folder / "whole", whole.reshape(3, 2 * SIDE, -1))
    bart(folder, "phantom", "-3", "-s", COILS, "-k", "-t", "whole", "clean")
    bart(folder, "noise", "-s", 1, "-n", 400, "clean", "noisy")
    return read_cfl(folder / "noisy.cfl").reshape(2 * SIDE, PARTITIONS, SPOKES[0], COILS), whole


def without_noise(folder: Path) -> np.ndarray:
    """BART's image as the partitions of k-space show it, (y, x, partition)."""
    bart(folder, "phantom", "-3", "-x", SIDE, "-s", COILS, "coils")
    for words in (("fft", "-u", 4, "coils", "k"), ("resize", "-c", 2, PARTITIONS, "k", "low"),
                  ("fft", "-u", "-i", 4, "low", "images"), ("rss", 8, "images", "truth")):  # fmt: skip
        bart(folder, *words)
    return np.abs(read_cfl(folder / "truth.cfl"))


def by_bart(folder: Path, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Return BART's best image and the seconds of its maps and of that image."""
    start = time.perf_counter()
    size = f"{SIDE}:{SIDE}:{PARTITIONS}"
    bart(folder, "nufft", "-i", "-d", size, "-m", 20, "traj", "ksp", "low")
    bart(folder, "fft", "-u", 7, "low", "grid")
    bart(folder, "ecalib", "-m", 1, "-c", 0.01, "-r", 20, "grid", "maps")
    maps, found = time.perf_counter() - start, []
    for weight in WEIGHTS:
        start = time.perf_counter()
        bart(folder, "pics", "-S", "-e", "-l1", f"-r{weight}", "-i", 50, "-t", "traj", "ksp", "maps", "image")
        image = np.abs(read_cfl(folder / "image.cfl"))
        found.append((scored(image, truth), image, maps + time.perf_counter() - start))
    best = max(found, key=lambda one: one[0])
    return best[1], best[2]


def scored(image: np.ndarray, truth: np.ndarray) -> float:
    scale = float((image * truth).sum() / (image**2).sum())
    return psnr(truth, scale * image, data_range=float(truth.max()))


def main(out: Path) -> None:
    """Print the table and draw the middle partition and a plane across of each image."""
    from matplotlib import pyplot as plt

    names = (*METHODS, "BART pics -t, 3-D")
    figure, axes = plt.subplots(2 * len(SPOKES), len(names) + 1, figsize=(9, 9.6), layout="constrained",
                                height_ratios=[SIDE, PARTITIONS] * len(SPOKES))  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        truth = without_noise(folder)
        everything, whole = simulate(folder)
        for number, spokes in enumerate(SPOKES):
            some, points = everything[:, :, :spokes], whole[..., :spokes]
            write_cfl(folder / "ksp", some.reshape(1, 2 * SIDE, -1, COILS))
            write_cfl(folder / "traj", points.reshape(3, 2 * SIDE, -1))
            kspace, trajectory = some.transpose(3, 0, 2, 1), np.moveaxis(points[:2, :, 0], 0, -1)
            images, row = {}, [str(spokes)]
            for method in METHODS:
                start = time.perf_counter()
                how = {"volume": True, "trajectory": trajectory, "matrix": SIDE, "progress": False}
                images[method] = mrunfold.recon(kspace, method=method, **how).magnitude
                row.append(f"{scored(images[method], truth):.1f}, {time.perf_counter() - start:.1f} s")
            images[names[-1]], seconds = by_bart(folder, truth)
            row.append(f"{scored(images[names[-1]], truth):.1f}, {seconds:.1f} s")
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
            for place, (name, image) in enumerate({**images, "without noise": truth}.items()):
                scale = float((image * truth).sum() / (image**2).sum()) / truth.max()
                planes = (image[:, :, PARTITIONS // 2], image[:, SIDE // 2].T)
                for axis, plane in zip(axes[2 * number : 2 * number + 2, place], planes, strict=True):
                    axis.imshow(scale * plane, cmap="gray", vmin=0, vmax=0.8)
                    axis.set(xticks=[], yticks=[])
                axes[2 * number, place].set_title(f"{name}, {spokes} spokes", fontsize=7)
    print(rows_markdown(["spokes", *names], rows))
    figure.savefig(out, dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
