"""3-D scans for tests: k-space of known images, written by BART and by ismrmrd-python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

__all__ = [
    "SIGMA",
    "SIZE",
    "bart",
    "cfl_of",
    "coils3d",
    "fft3c",
    "ifft3c",
    "letters",
    "noisy",
    "write_bart",
    "write_mrd_volume",
]


SIZE = (24, 32, 28)
SIGMA = 0.02


def coils3d(coils: int, seed: int = 0) -> np.ndarray:
    """Smooth maps (coil, readout, phase, partition), different at each place along the readout."""
    import torch

    from mrunfold.phantoms.coils import simulated_maps

    plane = simulated_maps(coils, SIZE[1:], torch.Generator().manual_seed(seed)).numpy()
    ramp = np.linspace(-1, 1, SIZE[0])[:, None, None]
    turn = np.exp(1j * ramp * np.arange(coils)[:, None, None, None] / 2)
    maps = plane[:, None] * (1 + 0.3 * ramp * (np.arange(coils) % 2 * 2 - 1)[:, None, None, None]) * turn
    return maps / np.linalg.norm(maps, axis=0)


def bart(folder: Path, *words: str) -> None:
    """Run BART in a folder; the test skips where it is not installed."""
    program = shutil.which("bart")
    if program is None:
        pytest.skip("BART is not installed (Debian: apt-get install bart)")
    subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)


def fft3c(image: np.ndarray) -> np.ndarray:
    """Centred unitary transform over the last three axes."""
    axes = (-3, -2, -1)
    k = np.fft.fftn(np.fft.ifftshift(image, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(k, axes=axes).astype(np.complex64)


def ifft3c(kspace: np.ndarray) -> np.ndarray:
    axes = (-3, -2, -1)
    x = np.fft.ifftn(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(x, axes=axes)


def letters(shape: tuple[int, int, int]) -> np.ndarray:
    """An image (readout, phase, partition) that no turn and no mirror leaves as it is: an F that fades."""
    image = np.zeros(shape, np.float32)
    r, c, s = (max(1, n // 8) for n in shape)
    image[r : 7 * r, 2 * c : 3 * c, s : 6 * s] = 1
    image[r : 2 * r, 2 * c : 6 * c, s : 5 * s] = 0.8
    image[3 * r : 4 * r, 2 * c : 5 * c, s : 3 * s] = 0.6
    return image


def noisy(kspace: np.ndarray, sigma: float = 1e-4, seed: int = 0) -> np.ndarray:
    """Add complex noise, √E|n|² = sigma: no sample of a scan is exactly zero."""
    draws = np.random.default_rng(seed).standard_normal((2, *kspace.shape))
    return (kspace + sigma * np.sqrt(0.5) * (draws[0] + 1j * draws[1])).astype(np.complex64)


def cfl_of(path: Path) -> np.ndarray:
    """What BART wrote, with its sixteen dimensions cut after the coils: (readout, phase, partition, coil)."""
    dims = [int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    return np.fromfile(path.with_suffix(".cfl"), "<c8").reshape(dims[:4], order="F")


def write_bart(path: Path, kspace: np.ndarray) -> Path:
    """Write (coil, readout, phase, partition) as BART's dimensions 0 to 3."""
    data = np.moveaxis(kspace, 0, -1)
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, data.shape)) + "\n")
    path.with_suffix(".cfl").write_bytes(data.astype("<c8").tobytes(order="F"))
    return path.with_suffix(".cfl")


XML = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  {vendor}<experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{n[0]}</x><y>{n[1]}</y><z>{n[2]}</z></matrixSize>
      <fieldOfView_mm><x>{fov[0]}</x><y>{fov[1]}</y><z>{fov[2]}</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{m[0]}</x><y>{m[1]}</y><z>{m[2]}</z></matrixSize>
      <fieldOfView_mm><x>{recon[0]}</x><y>{recon[1]}</y><z>{recon[2]}</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1>
        <minimum>0</minimum><maximum>{last[1]}</maximum><center>{centre[1]}</center>
      </kspace_encoding_step_1>
      <kspace_encoding_step_2>
        <minimum>0</minimum><maximum>{last[2]}</maximum><center>{centre[2]}</center>
      </kspace_encoding_step_2>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
</ismrmrdHeader>
"""


def write_mrd_volume(
    path: Path,
    kspace: np.ndarray,
    image: tuple[int, int, int] | None = None,
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    frame: np.ndarray | None = None,
    position: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    noise: np.ndarray | None = None,
    vendor: str | None = None,
) -> Path:
    """Write (coil, readout, phase, partition) by ismrmrd-python, lines in no order; mask: (phase, partition).

    image: (readout, phase, partition) of the final image; noise: a noise scan (coil, samples); volumes: an
    axis before the coils makes repetitions.
    """
    from rawfiles import write_acquisitions

    kspace = kspace if kspace.ndim == 5 else kspace[None]
    n = kspace.shape[2:]
    m = image or n
    mask = np.ones(n[1:], bool) if mask is None else mask
    maker = (
        f"<acquisitionSystemInformation><systemVendor>{vendor}</systemVendor></acquisitionSystemInformation>"
    )
    xml = XML.format(
        n=n,
        m=m,
        fov=[a * b for a, b in zip(n, voxel_mm, strict=True)],
        recon=[a * b for a, b in zip(m, voxel_mm, strict=True)],
        last=[a - 1 for a in n],
        centre=[a // 2 for a in n],
        vendor=maker if vendor else "",
    )
    place = {}
    if frame is not None and position is not None:
        names = ("read_dir", "phase_dir", "slice_dir")
        place = {"position": tuple(position)} | {k: tuple(v) for k, v in zip(names, frame, strict=True)}
    rows = [] if noise is None else [(noise, {"flags": (19,)})]
    points = np.argwhere(mask)
    for repetition, one in enumerate(kspace):
        for y, z in np.random.default_rng(repetition).permutation(points).tolist():
            counters = {"kspace_encode_step_1": y, "kspace_encode_step_2": z, "repetition": repetition}
            rows.append((one[:, :, y, z], counters | place))
    return write_acquisitions(path, rows, xml)
