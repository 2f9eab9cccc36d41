"""Runs mrunfold_recon from Python on tensors, by way of BART files."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrunfold.io.cfl import COIL, SLICE, read_cfl, write_cfl
from mrunfold.runtime.export import Inputs

__all__ = ["read_image", "run_program", "write_inputs"]

SET = COIL + 1


def write_inputs(folder: Path, inputs: Inputs) -> list[str]:
    """Write (k-space, maps, mask, σ) as BART files in `folder`, and return the program's options for them.

    Shapes as in `runtime.graph.Mean.forward`; σ is one number, so all its entries are to be the same.
    """
    kspace, maps, mask, sigma = inputs
    write_cfl(folder / "kspace", _as_bart(kspace[:, None]))
    write_cfl(folder / "maps", _as_bart(maps))
    write_cfl(folder / "mask", _as_bart(mask[:, None, None]))
    options = []
    for name in ("kspace", "maps", "mask"):
        options += [f"--{name}", str(folder / name)]
    return [*options, "--noise", repr(float(sigma[0]))]


def read_image(file: Path) -> Tensor:
    """Return the program's image, (slice, set, readout, phase) complex64."""
    image = read_cfl(file)
    image = image.reshape(*image.shape, *[1] * (SLICE + 1 - image.ndim))
    rest = [i for i in range(SLICE) if i not in (0, 1, SET)]
    ordered = image.transpose(SLICE, SET, 0, 1, *rest)
    return torch.from_numpy(np.ascontiguousarray(ordered.reshape(ordered.shape[:4])))


def run_program(program: Path, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the program to its end and return its exit code and what it said."""
    return subprocess.run([str(program), *options], capture_output=True, text=True, check=False)


def _as_bart(tensor: Tensor) -> np.ndarray:
    """(slice, set, coil, y, x) → (y, x, 1, coil, set, …, slice)."""
    array = tensor.numpy().transpose(3, 4, 2, 1, 0)
    y, x, coils, sets, slices = array.shape
    return array.reshape(y, x, 1, coils, sets, *[1] * (SLICE - SET - 1), slices)
