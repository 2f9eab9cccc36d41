"""What receives the signal: measured and simulated coil sensitivities, and the shading that they give."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mrunfold.coils import EspiritSettings, espirit_maps
from mrunfold.errors import InputError
from mrunfold.phantoms.coils import loop_sensitivities
from mrunfold.protocols import Scanner
from mrunfold.training.chance import chance, log_uniform, uniform

__all__ = ["random_sensitivities", "read_coils", "resized"]

GRID = 64  # sensitivities are smooth: drawn at so many places an axis, and interpolated
INSIDE = 0.92  # of half the measured field of view
STEEPEST = 3.0  # power of a measured or simulated shading


def read_coils(root: Path, pattern: str) -> tuple[Tensor, ...]:
    """Return measured sensitivities (coil, y, x) of the .npz files at `pattern`, of root mean square 1.

    `maps` are taken as they are; of `kspace` (coil, y, x), fully sampled, ESPIRiT's maps without a crop.
    Raises InputError where there is no file, or neither in it.
    """
    files = sorted(root.glob(pattern))
    if not files:
        raise InputError(f"no coil sensitivities at {root / pattern}; say where they are with `data=FOLDER`")
    found = []
    for file in files:
        with np.load(file, allow_pickle=False) as content:
            if "maps" in content:
                maps = content["maps"].astype(np.complex64)
            elif "kspace" in content:
                kspace = content["kspace"].astype(np.complex64)
                maps = espirit_maps(kspace, np.ones(kspace.shape[1:], bool), EspiritSettings(crop=0.0))[0]
            else:
                raise InputError(
                    f"{file} has neither maps nor kspace; leave it out of the protocol's pattern"
                )
        norm = np.sqrt((np.abs(maps) ** 2).sum(axis=0).mean())
        found.append(torch.from_numpy(maps / norm))
    return tuple(found)


def random_sensitivities(
    measured: tuple[Tensor, ...], coils: int, scanner: Scanner, generator: torch.Generator
) -> Tensor:
    """Return random sensitivities, complex64 (coil, GRID, GRID), whose root sum of squares is the shading.

    It is 1 everywhere where nothing is shaded, and has its largest value 1 otherwise.
    """
    fitting = [maps for maps in measured if len(maps) >= coils]
    if coils > 1 and chance(scanner.measured_coils, generator) and fitting:
        maps = fitting[int(torch.randint(len(fitting), (1,), generator=generator))]
        found = _turned(_some_coils(maps, coils, generator), generator)
    else:
        one_sided = coils > 1 and chance(scanner.one_sided, generator)
        arc = uniform(0.2, 0.9, generator) * math.pi if one_sided else 2 * math.pi
        found = loop_sensitivities(coils, (GRID, GRID), generator, arc).to(torch.complex64)
    size = found.abs().square().sum(dim=0).sqrt().clamp_min(1e-12)
    found = found / size
    if not chance(scanner.shading, generator):
        return found
    # A power of the shading keeps its shape and gives it the range that is wanted.
    spread = math.log(float(size.max() / size.min()))
    power = min(STEEPEST, math.log(log_uniform(scanner.shading_range, generator)) / max(spread, 1e-3))
    return found * (size / size.max()) ** power


def _some_coils(maps: Tensor, coils: int, generator: torch.Generator) -> Tensor:
    """Return `coils` of the maps: a part of them, or the strongest combinations of a larger part."""
    count = len(maps)
    wide = coils + int(torch.randint(count - coils + 1, (1,), generator=generator))
    some = maps[torch.randperm(count, generator=generator)[:wide]]
    if wide == coils or chance(0.3, generator):
        return some[:coils]
    data = some[:, ::4, ::4].reshape(wide, -1)
    strongest = torch.linalg.eigh(data @ data.mH)[1][:, -coils:]
    return torch.einsum("cv,cyx->vyx", strongest.conj(), some)


def _turned(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return the maps on the grid, turned, mirrored, stretched and shifted at random."""
    angle = uniform(-math.pi, math.pi, generator)
    flip = 1.0 if chance(0.5, generator) else -1.0
    cos, sin = math.cos(angle), math.sin(angle)
    # Inside the measured field of view, and not at its very edge, where estimated maps turn abruptly.
    reach = abs(cos) + abs(sin)
    zoom = [uniform(0.6, INSIDE, generator) / reach for _ in range(2)]
    shift = [uniform(-1, 1, generator) * (INSIDE - z * reach) for z in zoom]
    theta = torch.tensor(
        [[flip * cos * zoom[0], flip * sin * zoom[0], shift[0]], [-sin * zoom[1], cos * zoom[1], shift[1]]]
    )
    parts = torch.view_as_real(maps).permute(3, 0, 1, 2).reshape(1, -1, *maps.shape[-2:])
    grid = F.affine_grid(theta[None], [1, 1, GRID, GRID], align_corners=True)
    parts = F.grid_sample(parts, grid, mode="bicubic", align_corners=True)
    real, imaginary = parts.reshape(2, -1, GRID, GRID)
    return torch.complex(real, imaginary)


def resized(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return smooth maps (coil, y, x) interpolated to `shape`."""
    parts = torch.cat([maps.real, maps.imag])[None]
    real, imaginary = F.interpolate(parts, size=shape, mode="bicubic", align_corners=True)[0].chunk(2)
    return torch.complex(real, imaginary)
