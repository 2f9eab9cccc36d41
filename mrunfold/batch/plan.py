"""Which volumes a batch has, and what its settings are, before any work is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mrunfold.errors import InputError
from mrunfold.export.record import plain, versions
from mrunfold.io.recognise import raw_files
from mrunfold.methods.base import Method
from mrunfold.networks.weights import load_weights
from mrunfold.pipeline import ReconSettings
from mrunfold.protocols.reconstruction import ReconProtocol

__all__ = ["Volume", "check_outputs", "differences", "digest_of", "find_volumes", "full_settings"]

# How the work is done, not what comes out of it.
NOT_RESULTS = ("cache", "threads", "parameters")


@dataclass(frozen=True)
class Volume:
    """A raw file, and where its reconstruction goes: `final` is NAME.h5 in the batch's folder."""

    path: Path
    final: Path

    @property
    def name(self) -> str:
        """What the manifest calls it: the raw file's name without its suffix."""
        return self.final.name.removesuffix(".h5")


def find_volumes(inputs: Iterable[Path | str], out: Path) -> list[Volume]:
    """Return the volumes of files and folders (not of folders within), in the order of their names.

    Raises InputError where a path is missing, a folder holds no raw data, two files have the same name, or
    `out` holds the raw files themselves.
    """
    volumes: dict[str, Volume] = {}
    for path in raw_files(inputs):
        volume = Volume(path, out / f"{path.stem}.h5")
        key = volume.name.casefold()  # some file systems do not tell capitals apart
        if key in volumes:
            raise InputError(
                f"two inputs are named {volume.name} ({volumes[key].path} and {path}); rename one or run two "
                "batches into two folders"
            )
        if out.exists() and out.samefile(path.parent):
            raise InputError(f"`out={out}` holds the raw data {path.name}; choose another `out`")
        volumes[key] = volume
    return sorted(volumes.values(), key=lambda volume: volume.name)


def check_outputs(volumes: Sequence[Volume], listed: Iterable[str]) -> None:
    """Raise InputError where an output would replace a file that no batch wrote; listed: names it wrote."""
    known = set(listed)
    for volume in volumes:
        if os.path.lexists(volume.final) and volume.name not in known and not _is_ours(volume.final):
            raise InputError(
                f"{volume.final} is not made by mrunfold and will not be replaced; choose another `out`"
            )


def _is_ours(path: Path) -> bool:
    """Whether `path` is a volume that a batch wrote and died before it could say so."""
    from mrunfold.io.hdf5 import open_h5, reading

    try:
        with open_h5(path) as file, reading(path, "its contents"):
            return "settings_digest" in file.attrs and "reconstruction" in file and "kspace" not in file
    except InputError:
        return False


def full_settings(
    settings: ReconSettings, method: Method, device: torch.device, protocol: ReconProtocol | None = None
) -> dict[str, Any]:
    """Return all that the results depend on besides the raw files, for the manifest; no path is in it.

    The method's defaults are spelled out and weights told by their sha256, so that settings are the same
    exactly where results are.  Raises InputError where the weights cannot be loaded.
    """
    found = {key: value for key, value in settings.record().items() if key not in NOT_RESULTS}
    found["device"] = device.type
    for one in fields(method):
        value = getattr(method, one.name)
        found[f"{settings.method}.{one.name}"] = Path(value).name if isinstance(value, str) else value
        if one.name == "weights":
            facts = load_weights(value)[1]
            found[f"{settings.method}.weights"] = facts["file"]
            found["weights_sha256"] = facts["sha256"]
    if protocol is not None:
        found |= {"protocol": protocol.name, "protocol_digest": protocol.digest()}
    found["mrunfold"] = versions(["mrunfold"])["mrunfold"]
    return json.loads(json.dumps(plain(found)))


def digest_of(settings: dict[str, Any]) -> str:
    """Return the sha256 of settings as JSON with sorted keys; 4 and 4.0 are one number."""
    return hashlib.sha256(json.dumps(_whole(settings), sort_keys=True).encode()).hexdigest()


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return "accel (4 there, 8 now), …" of what differs."""
    differ = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} ({_short(old.get(key))} there, {_short(new.get(key))} now)" for key in differ)


def _short(value: Any) -> str:
    return "none" if value is None else str(value)[:24]
