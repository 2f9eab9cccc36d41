"""Reading volumes and what files say of themselves, with the refusals of `mrunfold.io`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.io.attributes import read_attribute
from mrunfold.io.fastmri import ACQUISITIONS
from mrunfold.io.hdf5 import check_size, find, open_h5, reading

__all__ = ["TARGETS", "Recon", "Target", "read_recon", "read_target"]

# What --target calls them, and the datasets they are; the order in which one is looked for.
TARGETS = {"rss": "reconstruction_rss", "esc": "reconstruction_esc", "target": "target"}
UNCERTAINTY = ("std", "quantile_05", "quantile_95")
DIGEST = re.compile(r"[0-9A-Za-z:_.-]{6,128}")
WORD = re.compile(r"[0-9A-Za-z_.+-]{1,40}")
MAX_VOLUME_BYTES = 8 << 30


@dataclass(frozen=True)
class Target:
    """A target volume (slice, y, x) and where it came from.

    kind: key of TARGETS; acquisition: one of fastMRI's words, "unknown" for any other; width: of the file's
    k-space, None where the file has none; sha256: of the volume's type, shape and bytes, since raw files
    hold gigabytes besides; simulated: the file says so.
    """

    volume: np.ndarray
    kind: str
    acquisition: str
    width: int | None
    sha256: str
    simulated: bool


@dataclass(frozen=True)
class Recon:
    """A reconstruction (slice, y, x), its uncertainty by name, and what the file says of itself."""

    volume: np.ndarray
    uncertainty: dict[str, np.ndarray]
    sha256: str
    method: str | None
    target_kind: str | None
    protocol_digest: str | None
    simulated: bool


def read_target(path: Path, kind: str | None = None) -> Target:
    """Read the target of a file: the dataset of `kind`, a key of TARGETS, or the only one there is.

    InputError where there is none or, without `kind`, more than one, and for a broken file.
    """
    with open_h5(path) as file:
        wanted = TARGETS if kind is None else {kind: TARGETS[kind]}
        found = {k: d for k, name in wanted.items() if (d := _dataset(path, file, name)) is not None}
        if not found:
            names = ", ".join(f"'{name}'" for name in wanted.values())
            raise InputError(f"{path.name}: no target image, none of {names}")
        if len(found) > 1:
            raise InputError(
                f"{path.name}: holds targets of kinds {' and '.join(found)}; choose one with `target`"
            )
        ((kind, dataset),) = found.items()
        volume = _volume(path, dataset)
        kspace = _dataset(path, file, "kspace")
        width = kspace.shape[-1] if kspace is not None and kspace.ndim in (3, 4) else None
        acquisition = _text(path, file, "acquisition")
        known = acquisition if acquisition in ACQUISITIONS else "unknown"
        return Target(volume, kind, known, width, _digest(volume), _flag(path, file, "simulated"))


def read_recon(path: Path) -> Recon:
    """Read `reconstruction` and, where they are, `std`, `quantile_05` and `quantile_95` of a file.

    InputError where there is no reconstruction or one of the others has another shape.
    """
    with open_h5(path) as file:
        dataset = _dataset(path, file, "reconstruction")
        if dataset is None:
            raise InputError(f"{path.name}: no dataset 'reconstruction'")
        volume = _volume(path, dataset)
        uncertainty = {}
        for name in UNCERTAINTY:
            if (found := _dataset(path, file, name)) is not None:
                uncertainty[name] = _volume(path, found)
                if uncertainty[name].shape != volume.shape:
                    raise InputError(
                        f"{path.name}: '{name}' is {found.shape} and 'reconstruction' {volume.shape}; they "
                        "must be alike"
                    )
        return Recon(
            volume=volume,
            uncertainty=uncertainty,
            sha256=_digest(volume),
            method=_word(path, file, "method", WORD),
            target_kind=_word(path, file, "target_kind", WORD),
            protocol_digest=_word(path, file, "protocol_digest", DIGEST),
            simulated=_flag(path, file, "simulated"),
        )


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset | None:
    found = find(path, file, name)
    return found if isinstance(found, h5py.Dataset) else None


def _volume(path: Path, dataset: h5py.Dataset) -> np.ndarray:
    """Return a real, finite volume as stored; InputError for anything else."""
    name = dataset.name[1:]
    if dataset.ndim != 3 or 0 in dataset.shape or dataset.dtype.kind not in "fiu":
        raise InputError(
            f"{path.name}: '{name}' must be real (slice, y, x), got {dataset.dtype} {dataset.shape}"
        )
    check_size(path, dataset, dataset.shape[0])
    if dataset.size * 8 > MAX_VOLUME_BYTES:
        raise InputError(f"{path.name}: '{name}' {dataset.shape} is too large to score; split it")
    with reading(path, f"'{name}'"):
        volume = np.asarray(dataset[()])
    if not np.isfinite(volume).all():
        bad = sorted({int(i) for i in np.nonzero(~np.isfinite(volume))[0]})
        raise InputError(f"{path.name}: '{name}' has NaN or infinity in slice {bad[0]} ({len(bad)} slices)")
    return volume


def _digest(volume: np.ndarray) -> str:
    digest = hashlib.sha256(f"{volume.dtype.str}{volume.shape}".encode())
    digest.update(np.ascontiguousarray(volume).data)
    return digest.hexdigest()


def _text(path: Path, file: h5py.File, name: str) -> str | None:
    value = read_attribute(path, file, name)
    value = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return value if isinstance(value, str) else None


def _word(path: Path, file: h5py.File, name: str, pattern: re.Pattern[str]) -> str | None:
    """Return an attribute that is one word; free text could name a person."""
    value = _text(path, file, name)
    if value is None:
        return None
    if not pattern.fullmatch(value):
        raise InputError(f"{path.name}: its attribute '{name}' is not a plain word; write the file anew")
    return value


def _flag(path: Path, file: h5py.File, name: str) -> bool:
    value = np.asarray(read_attribute(path, file, name) or False)
    return value.size == 1 and value.dtype.kind in "biu" and bool(value)
