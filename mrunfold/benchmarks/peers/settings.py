"""What each sampler is run with: its published settings, and those that its main weight is swept over."""

from __future__ import annotations

from typing import Any

from mrunfold.errors import InputError
from mrunfold.methods import get_method
from mrunfold.methods.registry import method_class

__all__ = ["GRIDS", "PEERS", "SWEPT_START", "limited"]

PEERS = ("dps", "diffpir", "ddnm", "daps", "dds")
# The first of each is the published weight.
GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "dps": ({}, {"weight": 1.0}, {"weight": 3.0}, {"weight": 10.0}),
    "diffpir": ({}, {"lamda": 7.0, "zeta": 0.3}, {"lamda": 7.0, "zeta": 1.0}, {"zeta": 1.0}),
    "ddnm": ({}, {"eta": 0.5}, {"eta": 1.0}, {"eta": 1.0, "noise": 3.0}),
    "daps": (
        {}, {"time": 0.001}, {"time": 0.1}, {"time": 0.001, "ode_steps": 1},
        {"time": 0.001, "ode_steps": 2, "noise": 3.0},
    ),
    "dds": ({}, {"gamma": 1.0}, {"gamma": 25.0}, {"eta": 1.0}, {"gamma": 25.0, "eta": 1.0}),
}  # fmt: skip
SWEPT_START = 1.0  # where swept draws begin: the highest noise that the prior of photographs was trained on


def limited(name: str, parameters: dict[str, Any], evaluations: int | None) -> dict[str, Any]:
    """Return the parameters with as many steps as `evaluations` of a draw allow; as they are for None."""
    if name not in PEERS:
        raise InputError(f"no sampler of others is called {name!r}; there are {', '.join(PEERS)}")
    if evaluations is None:
        return parameters
    method = get_method(name, **parameters)
    each = getattr(method, "ode_steps", 1)
    if evaluations < each:
        raise InputError(f"{name} takes {each} evaluations a step; give --evaluations {each} at least")
    return parameters | {"steps": min(method_class(name).steps, evaluations // each)}
