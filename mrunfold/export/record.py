"""What a run says of itself: versions, platform, memory.  Nothing names a person, a host or a folder."""

from __future__ import annotations

import math
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from mrunfold.text import utf8_json

__all__ = ["PACKAGES", "peak_memory_mb", "plain", "platform_facts", "to_json", "versions", "write_json"]

PACKAGES = (
    "mrunfold",
    "torch",
    "numpy",
    "scipy",
    "h5py",
    "sigpy",
    "ismrmrd",
    "nibabel",
    "matplotlib",
)


VERSION = re.compile(r"^Version: (\S+)\s*$", re.MULTILINE)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Return installed versions by distribution name, None for what is missing; imports nothing."""
    return {name: _version(name) for name in packages}


@lru_cache(maxsize=64)
def _version(name: str) -> str | None:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    # The email parser behind `metadata.version` reads the whole description.
    line = VERSION.search(found.read_text("METADATA") or "")
    return found.version if line is None else line.group(1)


def platform_facts() -> dict[str, str]:
    """Return the Python, system and processor kind; no host name."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
    }


def peak_memory_mb() -> float | None:
    """Return the most memory this process has held so far, in MB (10⁶ bytes), None where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: arrays and tuples as lists, numpy and torch numbers as Python's.

    NaN and infinities, which JSON has not, become the words "nan", "inf", "-inf"; other objects their `str`.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.name
    if hasattr(value, "tolist"):  # numpy arrays and numbers, torch tensors
        inner = value.tolist()
        return plain(inner) if not isinstance(inner, complex) else [inner.real, inner.imag]
    return str(value)


def to_json(record: Mapping[str, Any]) -> str:
    """Return `record` as indented JSON text."""
    return utf8_json(plain(record), indent=2)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write `record` to `path` as JSON in UTF-8."""
    path.write_text(to_json(record) + "\n", encoding="utf-8")
