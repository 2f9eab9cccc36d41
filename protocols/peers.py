"""The networks of others that a protocol can train in place of ours, on the same simulated scans."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ModlSpec", "PeerSpec", "UnetSpec", "VarNetSpec"]

Count = Annotated[int, Field(ge=1, le=64)]
Pools = Annotated[int, Field(ge=1, le=5)]
Width = Annotated[int, Field(ge=1, le=1024)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VarNetSpec(_Frozen):
    """E2E-VarNet: `cascades` of U-Nets of `chans` channels and `pools` poolings, and one for the maps."""

    kind: Literal["varnet"]
    cascades: Count
    chans: Width
    pools: Pools
    sens_chans: Width
    sens_pools: Pools


class UnetSpec(_Frozen):
    """fastMRI's U-Net: channels after the first convolution, number of poolings."""

    kind: Literal["unet"]
    chans: Width
    pools: Pools


class ModlSpec(_Frozen):
    """MoDL: iterations that share a CNN of `layers` convolutions of `features`, steps of each solve."""

    kind: Literal["modl"]
    iterations: Count
    cg_iterations: Count
    layers: Annotated[int, Field(ge=2, le=64)]
    features: Width


PeerSpec = Annotated[VarNetSpec | UnetSpec | ModlSpec, Field(discriminator="kind")]
