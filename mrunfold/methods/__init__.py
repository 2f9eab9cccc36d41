"""Reconstruction methods: frozen dataclasses that turn a Problem into a Result, all with one signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrunfold.methods.registry import METHODS, get_method, names

if TYPE_CHECKING:
    from mrunfold.methods.base import Method, Progress, Result, Seeds

__all__ = ["METHODS", "Method", "Progress", "Result", "Seeds", "get_method", "names"]


def __getattr__(name: str) -> Any:
    # base imports torch; the command line lists the names of methods without waiting for it.
    if name in ("Method", "Progress", "Result", "Seeds"):
        from mrunfold.methods import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
