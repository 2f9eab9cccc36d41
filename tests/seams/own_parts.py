"""A package of somebody else's: a mask, a reader, a method, a prior and an exporter, written as files."""

from __future__ import annotations

from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "otherlab"
version = "1.0"

[project.entry-points."mrunfold.masks"]
checkers = "otherlab:checkers"
[project.entry-points."mrunfold.readers"]
npz = "otherlab:NpzScan"
[project.entry-points."mrunfold.methods"]
landweber = "otherlab:Landweber"
[project.entry-points."mrunfold.priors"]
smooth = "otherlab:Smooth"
[project.entry-points."mrunfold.exporters"]
npy = "otherlab:write_npy"

[tool.setuptools]
py-modules = ["otherlab"]
"""

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from mrunfold.io import Header, Scan
from mrunfold.methods import Method


def checkers(shape, accel, *, seed):
    """Every `accel`-th sample along diagonals, and a full centre of 20×20."""
    y, x = np.indices(shape)
    mask = (y + x + seed) % int(accel) == 0
    mask[tuple(slice(n // 2 - 10, n // 2 + 10) for n in shape)] = True
    return mask


class NpzScan(Scan):
    """k-space (slice, coil, readout, phase) of an .npz file."""

    def __init__(self, path):
        self.path = path
        self._kspace = np.load(path)["kspace"].astype(np.complex64)
        slices, coils, readout, phase = self._kspace.shape
        self.header = Header("npz", slices, coils, (readout, phase), readout, (readout, phase))

    @classmethod
    def recognises(cls, path, start):
        return start.startswith(b"PK") and path.suffix == ".npz"

    def kspace(self, index):
        return self._kspace[self._index(index)]

    def acquired(self, index):
        return (self.kspace(index) != 0).any(axis=0)

    def close(self):
        pass


@dataclass(frozen=True)
class Landweber(Method):
    """x ← x + Aᴴ(y − A x), `steps` times."""

    steps: int = 10
    name: ClassVar[str] = "landweber"

    def reconstruct(self, problem, seeds, progress):
        x = torch.zeros_like(problem.A.adjoint(problem.y))
        for n in range(self.steps):
            x = x + problem.A.adjoint(problem.y - problem.A(x))
            progress((n + 1) / self.steps)
        return x


class Smooth(torch.nn.Module):
    """The mean of 3×3 pixels, taken by as much as the noise level."""

    def forward(self, x, tau):
        parts = torch.view_as_real(x).movedim(-1, -3).flatten(end_dim=-3)[None]
        mean = torch.nn.functional.avg_pool2d(parts, 3, 1, 1)[0]
        mean = torch.view_as_complex(mean.unflatten(0, (*x.shape[:-2], 2)).movedim(-3, -1).contiguous())
        share = tau[..., None, None, None] / (tau[..., None, None, None] + 0.1)
        return x + share * (mean - x)


def write_npy(result, folder):
    for place, image in enumerate(result.images("reconstruction")):
        np.save(folder / f"slice{place}.npy", image)
'''


def write_package(folder: Path) -> Path:
    """Write the package's source below `folder` and return where it lies."""
    source = folder / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (source / "otherlab.py").write_text(MODULE, encoding="utf-8")
    return source
