"""Coil sensitivities kept on disk by the content they were computed from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from mrunfold.coils.espirit import EspiritSettings, maps_from_block
from mrunfold.errors import InputError

__all__ = ["cache_folder", "cached_maps"]

log = logging.getLogger(__name__)

FORMAT = 2  # raise when the maps change for the same calibration block and settings
LIMIT_BYTES = 4 << 30


def cache_folder() -> Path:
    """Return where maps are kept: $MRUNFOLD_CACHE, else `mrunfold` in the platform's cache folder."""
    chosen = os.environ.get("MRUNFOLD_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mrunfold"


def cached_maps(
    block: np.ndarray, shape: tuple[int, int], settings: EspiritSettings, folder: Path | None
) -> tuple[np.ndarray, Literal["computed", "cache"]]:
    """Return ESPIRiT maps (set, coil, y, x) of a calibration block (coil, h, w), and where they came from.

    folder: where maps are kept, None to compute them anew and keep nothing.  The name of a file is the
    sha256 of the block, the image shape, the settings and SigPy's version.  A file that is damaged is
    computed again, one that cannot be written is done without; either is logged.
    """
    if folder is None:
        return maps_from_block(block, shape, settings), "computed"
    path = folder / "maps" / f"{_key(block, shape, settings)}.npz"
    maps = _read(path, (settings.sets, len(block), *shape))
    if maps is not None:
        return maps, "cache"
    maps = maps_from_block(block, shape, settings)
    _write(path, maps)
    return maps, "computed"


def _key(block: np.ndarray, shape: tuple[int, int], settings: EspiritSettings) -> str:
    block = np.ascontiguousarray(block, np.complex64)
    about = {
        "format": FORMAT,
        "block": block.shape,
        "shape": shape,
        "settings": asdict(settings),
        "sigpy": version("sigpy"),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(block.tobytes())
    return digest.hexdigest()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the kept maps, None where there are none or they are damaged (npz has a checksum)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            maps = file["maps"]
        if maps.shape != shape or maps.dtype != np.complex64:
            raise ValueError(f"holds {maps.shape} {maps.dtype}, expected {shape} complex64")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        log.warning("cached maps %s are damaged (%s); computing them again", path, error)
        return None
    return maps


def _write(path: Path, maps: np.ndarray) -> None:
    from mrunfold.io.atomic import atomic_path

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, maps=maps)
        _prune(path.parent)
    except (OSError, InputError) as error:
        log.warning("maps are not kept in %s (%s); set MRUNFOLD_CACHE to a folder that can be written",
                    path.parent, error)  # fmt: skip


def _prune(folder: Path) -> None:
    """Remove the files that were written first until at most LIMIT_BYTES are left."""
    known = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in folder.glob("*.npz")), reverse=True)
    total = 0
    for _, size, path in known:
        total += size
        if total > LIMIT_BYTES:
            path.unlink(missing_ok=True)
