"""Training from nothing on undersampled scans: part of what was acquired is given, the rest is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrunfold.errors import InputError
from mrunfold.io import open_scan
from mrunfold.masks import acquired
from mrunfold.methods.held_out import HeldOut, hold_out
from mrunfold.networks.posterior import PosteriorDenoiser
from mrunfold.operators import LinearOperator, Sense
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.protocols import Measurements, Splits, Stage
from mrunfold.training.chance import uniform
from mrunfold.training.images import ImageBank
from mrunfold.training.raw import RawFile, cropped, padded

__all__ = ["SplitProblem", "draw_split", "split_loss"]

SEEDS = 1 << 31
TRIES = 20  # slices: of some the centre is too small to calibrate on, or too few samples can be spared


@dataclass(frozen=True)
class SplitProblem:
    """A batch of scans Ω = Θ ∪ Λ: y (batch, coil, y, x) on Θ and its A, which the network is given, and Λ.

    other, B: the samples of Λ, zero elsewhere, and their operator; weight: real (batch, y, x), how many
    samples that were never acquired each of Λ stands for, zero elsewhere, `hold_out`; sigma_y: (batch,).
    """

    y: Tensor
    A: LinearOperator
    other: Tensor
    B: LinearOperator
    weight: Tensor
    sigma_y: Tensor

    def to(self, device: torch.device | str) -> SplitProblem:
        moved: dict[str, Any] = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return SplitProblem(**moved)


def draw_split(
    bank: ImageBank, measurements: Measurements, stage: Stage, splits: Splits, generator: torch.Generator
) -> SplitProblem:
    """Return some slices of one file, the acquired samples of each split at random, as `hold_out` does.

    The readout is cut to a part of the field of view where all of it was sampled, as `draw_raw` does.  Maps,
    σ_y and scale come from all that was acquired, Λ included.  InputError for a file of which no slice can be
    split.
    """
    files: Sequence[RawFile] = bank.scans(generator)
    chosen = files[int(torch.randint(len(files), (1,), generator=generator))]
    settings = ProblemSettings(cache=None, compression=None)
    with open_scan(chosen.file) as scan:
        header = scan.header
        if header.coils > measurements.coils[1]:
            settings = ProblemSettings(cache=None, compression=measurements.coils[1])
        top = min(stage.sizes[1], header.unoversampled)
        rows = 4 * (round(uniform(min(stage.sizes[0], top), top, generator)) // 4)
        found: list[HeldOut] = []
        reason = ""
        for _ in range(TRIES * stage.batch):
            if len(found) == stage.batch:
                break
            index = chosen.slices[int(torch.randint(len(chosen.slices), (1,), generator=generator))]
            there = scan.acquired(index)
            lines = there.any(axis=0)
            whole = bool((there == lines).all())
            kspace, cut = cropped(scan.kspace(index), header, rows if whole else None, generator)
            held = np.broadcast_to(lines, kspace.shape[1:]) if whole else there
            try:
                problem = build_problem(
                    kspace, cut, acquired(held.copy()), acquired=held, settings=settings, target="none"
                )
                found.append(_split(problem, splits, generator))
            except InputError as error:
                reason = str(error)
        if len(found) < stage.batch:
            raise InputError(f"{chosen.file}: no slices that can be split ({reason}); leave the file out")
    return _together(found)


def _split(problem: Any, splits: Splits, generator: torch.Generator) -> HeldOut:
    seed = int(torch.randint(SEEDS, (1,), generator=generator))
    which = int(torch.randint(len(splits.shares), (1,), generator=generator))
    return hold_out(problem, seed, splits.shares[which])


def _together(found: Sequence[HeldOut]) -> SplitProblem:
    maps = [held.whole.A.coil_maps() for held in found]
    sets = max(len(one) for one in maps if one is not None)
    stacked = torch.stack([padded(one, sets) for one in maps if one is not None])
    given = torch.stack([held.kept.A.observed().any(dim=0).float() for held in found])
    there = torch.stack([held.there.float() for held in found])
    y = torch.stack([held.whole.y for held in found])
    weight = torch.stack([held.weight for held in found]) * there
    sigma_y = torch.stack([held.whole.sigma_y for held in found])
    return SplitProblem(
        y * given[:, None], Sense(stacked, given), y * there[:, None], Sense(stacked, there), weight, sigma_y
    )


def split_loss(network: PosteriorDenoiser, b: SplitProblem) -> Tensor:
    """Return the mean over items of ½ (‖w^½ (y_Λ − B D)‖₂/‖w^½ y_Λ‖₂ + ‖w (y_Λ − B D)‖₁/‖w y_Λ‖₁).

    D = D(∞; y_Θ, A, σ_y).  Yaman et al., Magn. Reson. Med. 84 (2020), eq. 7 and 11, with weights by density
    (Millard and Chiew, IEEE TCI 9 (2023)), here of shells: else the dense centre would outweigh the rest.
    """
    estimate = network(None, torch.full_like(b.sigma_y, torch.inf), b.y, b.A, b.sigma_y)
    miss, whole = (z.abs() for z in (b.other - b.B(estimate), b.other))
    weight = b.weight[:, None]
    axes = (-3, -2, -1)
    squares = [(weight * z.square()).sum(dim=axes) for z in (miss, whole)]
    sizes = [(weight * z).sum(dim=axes) for z in (miss, whole)]
    tiny = torch.finfo(torch.float32).tiny  # a slice of which all samples are zero
    second = (squares[0] / squares[1].clamp_min(tiny) + tiny).sqrt()
    return ((second + sizes[0] / sizes[1].clamp_min(tiny)) / 2).mean()
