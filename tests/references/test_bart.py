"""Our SENSE against BART's, where BART is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from mrunfold.methods import get_method
from mrunfold.operators import Sense, fft2c
from mrunfold.phantoms.coils import simulated_maps
from mrunfold.problem import Problem

pytestmark = pytest.mark.skipif(shutil.which("bart") is None, reason="bart is not installed")


def write_cfl(path: Path, array: np.ndarray) -> None:
    """Write (coil, y, x) or (y, x) with BART's axes (y, x, 1, coil), first axis fastest."""
    array = array[None] if array.ndim == 2 else array
    coils, *size = array.shape
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{size[0]} {size[1]} 1 {coils} 1\n")
    array.transpose(0, 2, 1).astype(np.complex64).tofile(path.with_suffix(".cfl"))


def read_cfl(path: Path, shape: tuple[int, int]) -> np.ndarray:
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(shape[::-1]).T


# pics and we differ at odd sizes, where `bart fft` and we do not (below).
@pytest.mark.parametrize("shape", [(48, 40), (46, 38)])
def test_least_squares_equals_bart_pics(tmp_path: Path, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = simulated_maps(4, shape, generator)
    mask = (torch.rand(shape, generator=generator) < 0.5).float()
    A = Sense(maps[None], mask)
    x = torch.zeros(1, *shape, dtype=torch.complex64)
    x[0, 12:30, 8:22] = 1
    x[0, 15:20, 10:14] += 0.5j
    noise = torch.randn(4, *shape, dtype=torch.complex64, generator=generator)
    y = mask * (A(x) + 0.02 * noise)

    for name, array in (("kspace", y), ("maps", maps), ("mask", mask)):
        write_cfl(tmp_path / name, array.numpy())
    # -w1: no scaling of its own; -p: the mask, not what is non-zero.
    command = ["bart", "pics", "-l2", "-r0.04", "-i200", "-w1", "-p", "mask", "kspace", "maps", "out"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = read_cfl(tmp_path / "out", shape)

    problem = Problem(y, A, sigma_y=torch.tensor(0.02), scale=torch.tensor(1.0))
    method = get_method("sense", lamda=100.0, tolerance=1e-6, max_iter=200)  # 100 · 0.02² = 0.04
    ours = method(problem).mean[0].numpy()
    assert np.linalg.norm(ours - theirs) < 1e-3 * np.linalg.norm(theirs)


@pytest.mark.parametrize("shape", [(48, 40), (45, 37)])
def test_centred_transform_equals_bart_fft(tmp_path: Path, shape: tuple[int, int]) -> None:
    x = torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    write_cfl(tmp_path / "x", x.numpy())
    subprocess.run(["bart", "fft", "-u", "3", "x", "k"], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(fft2c(x).numpy(), read_cfl(tmp_path / "k", shape), atol=1e-5)
