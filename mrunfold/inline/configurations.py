"""The configurations that a server knows by name: protocols of reconstruction, frozen when it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mrunfold.batch.protocol import check_settings, protocol_settings
from mrunfold.errors import InputError
from mrunfold.methods.base import Method
from mrunfold.methods.registry import get_method
from mrunfold.networks.weights import load_weights
from mrunfold.pipeline import ReconSettings
from mrunfold.pipeline.slices import choose_device
from mrunfold.protocols.reconstruction import load_recon_protocol

__all__ = ["DEFAULT", "SHIPPED", "Configuration", "configurations"]

SHIPPED = ("inline-mean", "inline-samples")
DEFAULT = "default"  # what else the first one is called


@dataclass(frozen=True)
class Configuration:
    """What a scan is reconstructed by; digest: of the protocol; device: where."""

    name: str
    digest: str
    settings: ReconSettings
    method: Method
    device: torch.device


def configurations(
    protocols: Sequence[str] = (), device: str = "auto", asked: Mapping[str, Any] | None = None
) -> dict[str, Configuration]:
    """Return the configurations of protocols by name, those that ship where none is named.

    protocols: names of some that ship, or .toml files; the first is DEFAULT as well; asked: what they leave
    open, fields of ReconSettings.  Noise and maps are of each frame by itself, for later ones are not there
    yet, and no coil maps are kept on the disk.  Raises InputError for protocols that a stream cannot have,
    and for weights that are not theirs.
    """
    where = choose_device(device)
    found: dict[str, Configuration] = {}
    for name in protocols or SHIPPED:
        one = _configuration(name, where, {"device": device, **(asked or {})})
        if one.name in found or one.name == DEFAULT:
            raise InputError(f"there are two protocols {one.name}; give one of them another `name`")
        found[one.name] = one
    first = next(iter(found.values()))
    return {**found, DEFAULT: first}


def _configuration(name: str, device: torch.device, asked: Mapping[str, Any]) -> Configuration:
    protocol = load_recon_protocol(name)
    if protocol.mask.seed == "name":
        raise InputError(
            f"protocol {protocol.name} draws seeds of file names, and a stream has none; give its [mask] "
            "`seed = 0`"
        )
    if protocol.slices is not None:
        raise InputError(
            f"protocol {protocol.name} picks slices {protocol.slices}, and all slices of a stream are "
            "reconstructed; leave its `slices` out"
        )
    settings = protocol_settings(protocol, {"cache": False, "per_frame": True, **asked})
    method = get_method(settings.method, **settings.parameters)
    weights = None
    if hasattr(method, "weights"):
        weights = load_weights(method.weights)[1]["sha256"]
    check_settings(protocol, settings, weights)
    return Configuration(protocol.name, protocol.digest(), replace(settings, slices=None), method, device)
