"""Coil sensitivities kept on disk by the content they were computed from."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from mrunfold.coils.espirit import EspiritSettings, maps_from_block
from mrunfold.errors import InputError
from mrunfold.io.source import open_regular

__all__ = ["cache_folder", "cached_maps"]

log = logging.getLogger(__name__)

FORMAT = 7  # raise when the maps change for the same calibration block and settings, or their file
LIMIT_BYTES = 4 << 30
DIGEST = 32  # bytes of a sha256
MOST_AROUND = DIGEST + 4096  # and of a .npy header


def cache_folder() -> Path:
    """Return where maps are kept: $MRUNFOLD_CACHE, else `mrunfold` in the platform's cache folder."""
    chosen = os.environ.get("MRUNFOLD_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("mrunfold", appauthor=False)


def cached_maps(
    block: np.ndarray, shape: tuple[int, int], settings: EspiritSettings, folder: Path | None
) -> tuple[np.ndarray, Literal["computed", "cache"]]:
    """Return ESPIRiT maps (set, coil, y, x) of a calibration block, and where they came from.

    block: (coil, h, w), or (frame, coil, h, w) of several frames.

    folder: where maps are kept, None to compute them anew and keep nothing.  The name of a file is the
    sha256 of the block, the image shape, the settings and SigPy's version.  A file whose maps are not those
    that were written, or cannot be maps, is computed again; one that cannot be written is done without;
    either is logged.
    """
    if folder is None:
        return maps_from_block(block, shape, settings), "computed"
    path = folder / "maps" / f"{_key(block, shape, settings)}.npy"
    maps = _read(path, settings.sets, (block.shape[-3], *shape))
    if maps is not None:
        return maps, "cache"
    maps = maps_from_block(block, shape, settings)
    if _fault(maps) is None:  # a block without signal has none, and that is found again in no time
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


def _read(path: Path, sets: int | Literal["auto"], shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the kept maps, None where there are none or they are not as they were written.

    The file is a .npy and the sha256 of its bytes: no header is believed before all of it is checked.
    """
    try:
        with open_regular(path) as file:
            expected = 8 * (2 if sets == "auto" else sets) * int(np.prod(shape)) + MOST_AROUND
            data = file.read(expected + 1)
        content, digest = data[:-DIGEST], data[-DIGEST:]
        if len(data) > expected or hashlib.sha256(content).digest() != digest:
            raise ValueError("its sha256 differs")
        maps = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        right = maps.ndim == 4 and len(maps) in ((1, 2) if sets == "auto" else (sets,))
        if not right or maps.shape[1:] != shape or maps.dtype != np.complex64:
            raise ValueError(f"holds {maps.shape} {maps.dtype}, expected ({sets} sets, {shape}) complex64")
        if (fault := _fault(maps)) is not None:
            raise ValueError(fault)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("cached maps %s are damaged (%s); computing them again", path.name, error)
        return None
    return maps


def _fault(maps: np.ndarray) -> str | None:
    """Return why (set, coil, y, x) cannot be maps, else None: Σ_c |s_c|² is 1, and 0 outside."""
    if not np.isfinite(maps).all():
        return "values that are not finite"
    energy = np.square(np.abs(maps)).sum(axis=1)
    inside = energy > 0
    if not inside.any():
        return "zero everywhere"
    return None if np.allclose(energy[inside], 1, atol=1e-3) else "not normalised"


def _write(path: Path, maps: np.ndarray) -> None:
    from mrunfold.io.atomic import atomic_path

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(maps), allow_pickle=False)
    content = buffer.getbuffer()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            file.write(content)
            file.write(hashlib.sha256(content).digest())
        _prune(path.parent)
    except (OSError, InputError) as error:
        log.warning("maps are not kept in %s (%s); set MRUNFOLD_CACHE to a folder that can be written",
                    path.parent, error)  # fmt: skip


def _prune(folder: Path) -> None:
    """Remove the files that were written first until at most LIMIT_BYTES are left."""
    files = [p for kind in ("*.npy", "*.npz") for p in folder.glob(kind)]  # .npz of earlier versions too
    known = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in files), reverse=True)
    total = 0
    for _, size, path in known:
        total += size
        if total > LIMIT_BYTES:
            path.unlink(missing_ok=True)
