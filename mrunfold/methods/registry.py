"""The methods by the name that the command line and the protocols call them; imported when asked for."""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from mrunfold.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from mrunfold.methods.base import Method

__all__ = ["DEFAULT_METHOD", "METHODS", "get_method", "method_class", "names"]

# name → module:class; the class's `name` is the same.
METHODS: dict[str, str] = {
    "zero_filled": "mrunfold.methods.zero_filled:ZeroFilled",
    "sense": "mrunfold.methods.sense:LeastSquares",
    "l1_wavelet": "mrunfold.methods.l1_wavelet:L1Wavelet",
    "tv": "mrunfold.methods.tv:TotalVariation",
    "tikhonov": "mrunfold.methods.tikhonov:Tikhonov",
    "tv_isotropic": "mrunfold.methods.tv_isotropic:IsotropicTotalVariation",
    "plug_and_play": "mrunfold.methods.plug_and_play:PlugAndPlay",
    "unfold": "mrunfold.methods.unfold:Unfold",
}

# What `mrunfold recon` uses where no method is named.
DEFAULT_METHOD = "unfold"


def names() -> list[str]:
    """Return the names of all methods, simplest first."""
    return list(METHODS)


def method_class(name: str) -> type[Any]:
    """Return the class of the method called `name`; InputError for an unknown name."""
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}{did_you_mean(name, METHODS)}")
    module, cls = METHODS[name].split(":")
    found: type[Any] = getattr(importlib.import_module(module), cls)
    return found


def get_method(name: str, /, **parameters: Any) -> Method:
    """Return the method called `name` with `parameters`; InputError for an unknown name or parameter."""
    cls = method_class(name)
    known = [f.name for f in fields(cls)]
    for parameter in parameters:
        if parameter not in known:
            hint = did_you_mean(parameter, known) if known else "; it has none"
            raise InputError(f"method {name} has no parameter {parameter!r}{hint}")
    method: Method = cls(**parameters)
    return method
