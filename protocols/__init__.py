"""Frozen, named experiments: TOML files beside this module, checked when they are read."""

from mrunfold.protocols.measurements import Blind, Large, Measurements, Scanner
from mrunfold.protocols.peers import ModlSpec, PeerSpec, UnetSpec, VarNetSpec
from mrunfold.protocols.sd import SdSpec
from mrunfold.protocols.training import (
    FOLDER,
    Degradations,
    ImageSet,
    NetworkSpec,
    PriorSpec,
    Splits,
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
    "SdSpec",
    "Splits",
    "Stage",
    "TrainingProtocol",
    "UnetSpec",
    "VarNetSpec",
    "load_protocol",
    "protocol_names",
]
