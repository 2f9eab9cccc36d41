"""What an output of `recon` or `batch` says and holds, read without trusting the file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrunfold.errors import InputError
from mrunfold.export.facts import read_facts
from mrunfold.export.geometry import Stack, stacks, together
from mrunfold.io import sha256_of
from mrunfold.io.frames import Label
from mrunfold.io.hdf5 import check_size, find, open_h5, reading
from mrunfold.io.scan import Header

__all__ = [
    "MAPS",
    "SAMPLE",
    "ZERO_FILLED",
    "Check",
    "Reconstruction",
    "open_reconstruction",
    "sample_name",
]

# Datasets that are exported besides `reconstruction` and the samples.
MAPS = ("std", "quantile_05", "quantile_95", "target")
# What the method began with: for the review page, not for export.
ZERO_FILLED = "zero_filled"
SAMPLE = re.compile(r"sample_[0-9]{2,4}")
# What a file must say of itself.
SAID = (
    "header", "settings", "mask", "slices", "input_sha256", "mrunfold_version", "method", "weights_sha256",
    "target_kind", "flags",
)  # fmt: skip
STD_TITLE = "Standard deviation"
PURPOSE = "research, not for diagnosis"
# The text of a setting: a method, a mask, a file of weights; nothing longer belongs there.
MAX_TEXT, MAX_FLAG = 64, 500


def sample_name(draw: int) -> str:
    """Return the dataset of posterior sample `draw`, counted from 0."""
    return f"sample_{draw + 1:02d}"


@dataclass(frozen=True)
class Check:
    """What the check without a reference said: verdict in words; explained, sense: its numbers, if any."""

    verdict: str
    explained: float | None = None
    sense: float | None = None

    def words(self) -> str:
        """Return the verdict with its numbers, in one line."""
        numbers = {"explained": self.explained, "sense": self.sense}
        said = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items() if value is not None)
        return f"{self.verdict} ({said})" if said else self.verdict


@dataclass(frozen=True)
class Reconstruction:
    """An open output of mrunfold: facts, and images one at a time.

    digest: sha256 of the raw file; header: of the slices that were reconstructed, in their order; slices:
    their indices in the scan; weights_sha256: None for a method without; parameters: what was asked for, as
    far as results depend on it; names: datasets that can be read; check: what record.json beside it says that
    the check without a reference found, None where there was none; uncertainty: where its maps come from, in
    words, None in files of before.
    """

    path: Path
    header: Header
    slices: tuple[int, ...]
    digest: str
    version: str
    method: str
    weights_sha256: str | None
    parameters: dict[str, Any]
    mask: dict[str, Any]
    kind: str
    flags: tuple[str, ...]
    names: tuple[str, ...]
    _file: h5py.File
    check: Check | None = None
    uncertainty: str | None = None

    def titled(self, title: str) -> str:
        """Return the title of a dataset, that of a standard deviation with where it comes from."""
        known = self.uncertainty is not None and title.startswith(STD_TITLE)
        return f"{title}, {self.uncertainty}" if known else title

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the posterior samples, in their order."""
        return tuple(name for name in self.names if SAMPLE.fullmatch(name))

    @property
    def stacks(self) -> list[Stack]:
        """Equally spaced stacks that the slices fall into."""
        return stacks(self.header, range(self.header.slices))

    @property
    def series(self) -> list[list[Stack]]:
        """The same, frames of the same slices together."""
        return together(self.stacks)

    def label(self, stack: Stack) -> Label:
        """Return what is the frame's own of a stack, empty where there is one frame."""
        return {} if self.header.frames is None else self.header.frames.labels[stack.frame]

    def settings_of(self, stack: Stack) -> dict[str, float | str]:
        """Return the scanner's settings of a stack: the scan's, and its frame's own."""
        return {**self.header.contrast, **self.label(stack)}

    def images(self, name: str, places: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yield slices float32 (readout, phase) of a dataset; InputError where a value is no magnitude."""
        for place in range(self.header.slices) if places is None else places:
            with reading(self.path, f"slice {place} of '{name}'"):
                image = np.asarray(self._file[name][place], np.float32)
            if not np.isfinite(image).all() or image.min() < 0:
                raise InputError(
                    f"{self.path}: slice {place} of '{name}' holds values that are negative or not "
                    "finite, no magnitudes; the file is damaged, reconstruct again"
                )
            yield image


@contextmanager
def open_reconstruction(path: Path | str) -> Iterator[Reconstruction]:
    """Give the Reconstruction of a `recon` folder, its recon.h5 or a `batch` volume.

    Raises InputError where it is none, is damaged, is not what the run record or manifest beside it says, or
    was written before outputs said where they lie.
    """
    path = Path(path)
    path = path / "recon.h5" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a folder that `mrunfold recon` wrote, or its recon.h5")
    _check_digest(path)
    file = open_h5(path)
    try:
        yield _read(path, file)
    finally:
        file.close()


def _check_digest(path: Path) -> None:
    """Raise InputError where record.json or manifest.jsonl has another sha256 of this very file."""
    expected = None
    record, manifest = path.parent / "record.json", path.parent / "manifest.jsonl"
    try:
        if path.name == "recon.h5" and record.is_file():
            expected = json.loads(record.read_text(encoding="utf-8")).get("recon_sha256")
        elif manifest.is_file():
            for line in manifest.read_text(encoding="utf-8").splitlines():
                one = json.loads(line)
                if one.get("name") == path.stem:
                    expected = one.get("output_sha256")
    except (ValueError, AttributeError, RecursionError):
        raise InputError(
            f"{path.parent}: what lies beside {path.name} is damaged; reconstruct again"
        ) from None
    if expected is not None and sha256_of(path) != expected:
        raise InputError(f"{path}: it is not as it was written (its sha256 differs); reconstruct again")


def _read(path: Path, file: h5py.File) -> Reconstruction:
    with reading(path, "its datasets"):
        wanted = [n for n in file if n in ("reconstruction", ZERO_FILLED, *MAPS) or SAMPLE.fullmatch(n)]
    if "reconstruction" not in wanted:
        raise InputError(f"{path}: no dataset 'reconstruction'; give a folder that `mrunfold recon` wrote")
    shape = None
    for name in sorted(wanted, key=lambda n: n != "reconstruction"):
        data = find(path, file, name)
        if (
            not isinstance(data, h5py.Dataset)
            or data.dtype != np.float32
            or data.ndim != 3
            or 0 in data.shape
        ):
            raise InputError(f"{path}: '{name}' is not float32 (slice, readout, phase); reconstruct again")
        check_size(path, data, data.shape[0])
        shape = data.shape if shape is None else shape
        if data.shape != shape:
            raise InputError(
                f"{path}: '{name}' has shape {data.shape}, 'reconstruction' {shape}; it is damaged"
            )
    assert shape is not None
    said = _provenance(path, file)
    facts = read_facts(path, said["header"], shape)
    try:
        settings, mask = said["settings"], said["mask"]
        if len(said["slices"]) != shape[0]:
            raise ValueError("another number of slices")
        parameters = {
            key: settings[key]
            for key in ("mask", "accel", "calibration", "center_fraction", "parameters", "seed", "coils")
        }
        return Reconstruction(
            path=path,
            header=facts,
            slices=tuple(map(int, said["slices"])),
            digest=_hexadecimal(said["input_sha256"]),
            version=_short(said["mrunfold_version"]),
            method=_short(said["method"]),
            weights_sha256=_weights(said["weights_sha256"]),
            parameters=_shorten(parameters),
            mask=_shorten({key: mask[key] for key in ("kind", "asked", "delivered")}),
            kind=_short(said["target_kind"]),
            flags=tuple(_short(flag, MAX_FLAG) for flag in said["flags"]),
            names=tuple(sorted(wanted)),
            _file=file,
            check=_check(path, said),
            uncertainty=None if said.get("uncertainty") is None else _short(said["uncertainty"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: what it says of itself cannot be read ({error}); reconstruct again"
        ) from None


def _provenance(path: Path, file: h5py.File) -> dict[str, Any]:
    """Return what the file says of itself; read from a dataset: HDF5 crashes on damaged text attributes."""
    data = find(path, file, "provenance")
    if data is None:
        raise InputError(f"{path}: not written by this version of mrunfold; reconstruct again")
    if not isinstance(data, h5py.Dataset) or data.dtype != np.uint8 or data.ndim != 1:
        raise InputError(f"{path}: its 'provenance' is no text; the file is damaged, reconstruct again")
    check_size(path, data)
    with reading(path, "'provenance'"):
        text = data[()].tobytes()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    missing = [name for name in SAID if name not in said] if isinstance(said, dict) else ["everything"]
    if missing:
        raise InputError(f"{path}: its 'provenance' is damaged ({missing[0]}); reconstruct again")
    return said


def _check(path: Path, said: Mapping[str, Any]) -> Check | None:
    """Return the verdict that the result, or the run record beside it, holds; ValueError where it is none."""
    found = said.get("check")
    record = path.parent / "record.json"
    if found is None and path.name == "recon.h5" and record.is_file():
        found = json.loads(record.read_text(encoding="utf-8")).get("check")
    if found is None:
        return None
    numbers = {}
    for key in ("explained", "sense"):
        value = found.get(key)
        if value is not None and not math.isfinite(float(value)):
            raise ValueError("a check whose numbers are none")
        numbers[key] = None if value is None else float(value)
    return Check(_short(found["verdict"], MAX_FLAG), **numbers)


def _hexadecimal(value: Any) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", str(value)):
        raise ValueError("a sha256 that is none")
    return str(value)


def _weights(value: Any) -> str | None:
    return None if str(value) == "none" else _hexadecimal(value)


def _short(value: Any, longest: int = MAX_TEXT) -> str:
    text = str(value)
    if len(text) > longest or not text.isprintable():
        raise ValueError("a text that is too long or not printable")
    return text


def _shorten(value: Any) -> Any:
    """Return JSON values whose texts are short and printable, or raise ValueError."""
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, dict):
        return {_short(key): _shorten(item) for key, item in value.items()}
    return [_shorten(item) for item in value] if isinstance(value, list) else value
