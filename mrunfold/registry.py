"""Parts by name: those that ship, those that other packages bring, and `package.module:name`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mrunfold.errors import InputError, did_you_mean

__all__ = ["Registry"]


class Registry:
    """The parts of one kind by name, imported when asked for.

    kind: what messages call one of them; group: the entry point group in which other packages name theirs
    (`[project.entry-points."mrunfold.methods"]` in their pyproject.toml); own: name → "module:attribute" of
    those that ship, whose names nobody else may take.
    """

    def __init__(self, kind: str, group: str, own: dict[str, str]) -> None:
        self.kind, self.group, self.own = kind, group, own
        self._registered: dict[str, Any] = {}

    def register(self, name: str, part: Any) -> Any:
        """Make `part` known as `name` in this process, and return it; InputError for a name that ships."""
        if name in self.own or not name or ":" in name:
            raise InputError(f"{self.kind} {name!r} cannot be added: choose a new name without a colon")
        self._registered[name] = part
        return part

    def __iter__(self) -> Iterator[str]:
        """Yield the names of those that ship."""
        return iter(self.own)

    def names(self) -> list[str]:
        """Return all names: those that ship in their order, then the others."""
        return [*self.own, *sorted({*self._registered, *self._found()} - self.own.keys())]

    def others(self) -> list[str]:
        """Return the names of those that do not ship."""
        return [name for name in self.names() if name not in self.own]

    def load(self, name: str) -> Any:
        """Return the part called `name`, or `package.module:name`; InputError where it is not to be had."""
        if name in self.own:
            return _attribute(self.own[name])
        if name in self._registered:
            return self._registered[name]
        if ":" in name:
            return self._import(name, f"{self.kind} {name}")
        found = self._found()
        if name not in found:
            raise InputError(f"there is no {self.kind} {name!r}{did_you_mean(name, self.names())}")
        point = found[name]
        package = point.dist.name if point.dist is not None else point.value
        return self._import(point.value, f"{self.kind} {name} of the package {package}")

    def _found(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in _points(self.group, tuple(sys.path))}

    @staticmethod
    def _import(reference: str, what: str) -> Any:
        """Return the object of "module:attribute"; modules of the working folder are found as well."""
        folder = os.getcwd()
        if folder not in sys.path:
            sys.path.append(folder)
        try:
            return _attribute(reference)
        except Exception as error:  # code of others fails in any way
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{what} cannot be imported ({type(error).__name__}: {reason}); give package.module:name of "
                "what Python can import here"
            ) from error


@lru_cache(maxsize=32)
def _points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return a group's entry points; looking for them opens a file of every installed package."""
    return tuple(entry_points(group=group))


def _attribute(reference: str) -> Any:
    module, _, path = reference.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found
