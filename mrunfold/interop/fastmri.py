"""fastMRI's SliceDataset: a transform that makes a Problem of each of its slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.scan import Header
from mrunfold.masks import acquired, draw, seed_from_name
from mrunfold.prepare import ProblemSettings, build_problem
from mrunfold.problem import Problem, TargetKind

__all__ = ["ToProblem"]


@dataclass(frozen=True)
class ToProblem:
    """`SliceDataset(folder, "multicoil", transform=ToProblem("random", 4))[i]` is the Problem of a slice.

    mask: a kind of `mrunfold.masks`, or "acquired" for what the file holds; accel: its acceleration; seed: an
    integer, or "name" for fastMRI's of the file's name; target: `combined` or `rss`, the file's own images.
    Problems differ in size: `DataLoader(…, batch_size=None)`, or `problem.collate` of equal ones.
    """

    mask: str = "acquired"
    accel: float | None = None
    seed: int | str = "name"
    target: TargetKind = "combined"
    settings: ProblemSettings | None = None

    def __post_init__(self) -> None:
        if (self.mask == "acquired") != (self.accel is None):
            raise InputError("`accel` goes with a mask to draw, and only with one: ToProblem('random', 4)")

    def __call__(
        self,
        kspace: np.ndarray,
        mask: np.ndarray | None,
        target: np.ndarray | None,
        attributes: Mapping[str, Any],
        name: str,
        index: int,
    ) -> Problem:
        """Return the problem of what SliceDataset gives: k-space ([coil,] readout, phase), its mask, …"""
        kspace = kspace if kspace.ndim == 3 else kspace[None]
        header = _header(kspace, attributes)
        held = (kspace != 0).any(axis=0)
        chosen = acquired(held if held.any() else np.ones_like(held))
        if self.accel is not None:
            seed = seed_from_name(name) if self.seed == "name" else int(self.seed)
            chosen = draw(self.mask, (header.unoversampled, header.matrix[1]), self.accel, seed=seed)
        reference = target if self.target == "rss" else None
        return build_problem(
            kspace, header, chosen, acquired=held, settings=self.settings, target=self.target,
            reference=reference,
        )  # fmt: skip


def _header(kspace: np.ndarray, attributes: Mapping[str, Any]) -> Header:
    """Return what SliceDataset's metadata say of a slice: sizes and padding, of ISMRMRD's header."""
    coils, readout, phase = kspace.shape
    try:
        encoded, recon = (tuple(int(n) for n in attributes[k][:2]) for k in ("encoding_size", "recon_size"))
        left, right = (int(attributes[f"padding_{side}"]) for side in ("left", "right"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"these attributes are not of fastMRI's SliceDataset ({error}); give it as its `transform`"
        ) from None
    size = recon if recon[1] <= phase else (phase, phase)
    crop = (min(size[0], readout), size[1])
    unoversampled = min(readout, max(round(readout * recon[0] / encoded[0]), crop[0]))
    return Header(
        "fastmri", 1, coils, (readout, phase), unoversampled, crop, padding=(left, min(right, phase))
    )
