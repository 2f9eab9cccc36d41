"""Peak memory of a 3-D scan of 256×256×192 and 16 coils: volume_memory.py FOLDER [WORDS].

A fifth of ky–kz of ellipsoids, seen by smooth coils with noise, is written to FOLDER as BART's pair (1.6 GB);
WORDS are those of `mrunfold recon` besides the file.  The line that is printed is of the whole command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.fft

from mrunfold.masks import draw

SIZE, COILS, SIGMA = (256, 256, 192), 16, 0.02
# Centres and half axes in half fields of view, and how bright each is.
ELLIPSOIDS = (
    ((0, 0, 0), (0.75, 0.6, 0.8), 1.0),
    ((0.1, 0.1, 0), (0.6, 0.5, 0.65), -0.3),
    ((0.3, 0.2, 0.1), (0.15, 0.2, 0.3), 0.5),
    ((-0.3, -0.2, -0.1), (0.2, 0.1, 0.3), 0.4),
    ((0, -0.1, 0.4), (0.08, 0.08, 0.08), 0.6),
)


def simulate(folder: Path) -> None:
    """Write scan.cfl and scan.hdr, coil by coil."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in SIZE), indexing="ij")
    image = np.zeros(SIZE, np.float32)
    for centre, half, height in ELLIPSOIDS:
        inside = sum(((u - c) / h) ** 2 for u, c, h in zip(axes, centre, half, strict=True)) < 1
        image[inside] += height
    mask = draw("poisson", SIZE[1:], 5.0, seed=1).array
    rng = np.random.default_rng(0)
    path = folder / "scan.cfl"
    with open(path, "wb") as file:
        for coil in range(COILS):
            angle = 2 * np.pi * coil / 8
            place = (1.2 * np.cos(angle), 1.2 * np.sin(angle), -0.5 if coil < COILS // 2 else 0.5)
            away = sum((u - c) ** 2 for u, c in zip(axes, place, strict=True))
            phase = coil + 0.8 * (axes[0] * np.sin(angle) - axes[1] * np.cos(angle))
            seen = (image * np.exp(1j * phase - away / 1.2)).astype(np.complex64)
            k = scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(seen), norm="ortho"))
            noise = [SIGMA * rng.standard_normal(SIZE, dtype=np.float32) for _ in range(2)]
            k = (k + noise[0] + 1j * noise[1]) * mask
            file.write(k.astype("<c8").tobytes(order="F"))
    words = " ".join(map(str, (*SIZE, COILS, *[1] * 12)))
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{words}\n")


def main(folder: Path, *words: str) -> None:
    """Write the scan where it is not there, reconstruct it, and print what that took."""
    path = folder / "scan.cfl"
    if not path.with_suffix(".hdr").exists():
        # In a process of its own: a child's peak memory begins with what its parent has.
        subprocess.run([sys.executable, __file__, str(folder), "simulate"], check=True)
    program = Path(sys.executable).with_name("mrunfold")
    out = folder / "out"
    command = [str(program), "recon", str(path), "--out", str(out), "--overwrite", "--quiet", *words]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    print(f"status {status}, {usage.ru_maxrss / 1024:.0f} MB at most, {seconds:.0f} s: {' '.join(command)}")


if __name__ == "__main__":
    if sys.argv[2:] == ["simulate"]:
        simulate(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), *sys.argv[2:])
