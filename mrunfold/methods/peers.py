"""Networks of others as methods, to compare with: fastMRI's E2E-VarNet and U-Net, and MoDL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from mrunfold.errors import InputError
from mrunfold.methods.base import Method, Progress, Result, Seeds
from mrunfold.networks.precision import choose, convolutions_in
from mrunfold.networks.weights import load_peer
from mrunfold.problem import Problem

__all__ = ["Modl", "Unet", "VarNet"]


@dataclass(frozen=True)
class _Learned(Method):
    """weights: a .safetensors file of `mrunfold train`, none ship; precision: as of unfold."""

    weights: str | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        choose(self.precision, "cpu")  # refuses unknown names

    def reconstruct(self, problem: Problem, seeds: Seeds, progress: Progress) -> Result:
        if self.weights is None:
            raise InputError(
                f"no weights of {self.name} ship; train them with `mrunfold train mri-{self.name}`, "
                f"then give `weights='runs/mri-{self.name}/{self.name}.safetensors'`"
            )
        network, metadata = load_peer(self.name, self.weights)
        network = network.to(problem.y.device)
        dtype = choose(self.precision, problem.y.device)
        with convolutions_in(dtype, problem.y.device):
            mean = network.image(problem.y, problem.A)
        # An item without any sample has no standard deviation to divide by.
        empty = (problem.y == 0).flatten(start_dim=problem.y.ndim - 3).all(dim=-1)
        mean = torch.where(empty[..., None, None, None], torch.zeros_like(mean), mean)
        if not bool(torch.isfinite(mean).all()):
            raise InputError(f"{self.name} gave values that are not finite; try `method='unfold'`")
        record: dict[str, Any] = {
            "weights": metadata["file"],
            "weights_sha256": metadata["sha256"],
            "network": metadata["peer"],
            "trained": {name: metadata.get(name) for name in ("protocol", "step", "minutes")},
            "precision": str(dtype).removeprefix("torch."),
        }
        return Result(mean, evaluations=1, record=record)


@dataclass(frozen=True)
class VarNet(_Learned):
    """E2E-VarNet of the package `fastmri`: its own maps, from k-space, see `networks.peers.VarNet`.

    Its magnitude is the root sum of squares of the coils it predicts; phase and share of each set are those
    of its coil images combined with the problem's maps, outside of which it is zero.
    """

    name: ClassVar[str] = "varnet"


@dataclass(frozen=True)
class Unet(_Learned):
    """U-Net of the package `fastmri` on the zero-filled image Aᴴy, see `networks.peers.Unet`."""

    name: ClassVar[str] = "unet"


@dataclass(frozen=True)
class Modl(_Learned):
    """MoDL: a CNN and data consistency in turn, see `networks.peers.Modl`."""

    name: ClassVar[str] = "modl"
