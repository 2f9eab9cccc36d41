"""Frozen, named experiments: TOML files beside this module, checked when they are read."""

from mrunfold.protocols.peers import ModlSpec, PeerSpec, UnetSpec, VarNetSpec
from mrunfold.protocols.training import (
    FOLDER,
    Blind,
    Degradations,
    ImageSet,
    Large,
    Measurements,
    NetworkSpec,
    PriorSpec,
    Scanner,
    Stage,
    TrainingProtocol,
    load_protocol,
    protocol_names,
)

__all__ = [
    "FOLDER",
    "Blind",
    "Degradations",
    "ImageSet",
    "Large",
    "Measurements",
    "ModlSpec",
    "NetworkSpec",
    "PeerSpec",
    "PriorSpec",
    "Scanner",
    "Stage",
    "TrainingProtocol",
    "UnetSpec",
    "VarNetSpec",
    "load_protocol",
    "protocol_names",
]
