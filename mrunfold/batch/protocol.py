"""A protocol of reconstruction and a batch: its files, its settings, and how one is frozen."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mrunfold.batch.plan import Volume, find_volumes
from mrunfold.errors import InputError
from mrunfold.io import scan_digest
from mrunfold.methods.registry import get_method
from mrunfold.networks.weights import load_weights
from mrunfold.pipeline import ReconSettings
from mrunfold.protocols.reconstruction import (
    CoilSettings,
    Data,
    MaskSpec,
    MethodSpec,
    ReconProtocol,
    Target,
)

__all__ = ["check_settings", "expected_hashes", "freeze", "protocol_settings", "protocol_volumes"]


def protocol_settings(protocol: ReconProtocol, asked: Mapping[str, Any]) -> ReconSettings:
    """Return the protocol's settings with what it leaves open, as `asked` (fields of ReconSettings) has it.

    Raises InputError where `asked` contradicts the protocol; what agrees with it is no contradiction.
    """
    fixed = _fixed(protocol)
    for key in ("method", *sorted(asked)):
        if key == "parameters":
            _agree(protocol, fixed, asked[key])
        elif key in asked and key in fixed and asked[key] != fixed[key]:
            _refuse(protocol, key, asked[key], fixed[key])
    merged = {**asked, **fixed}
    if "parameters" in fixed:
        merged["parameters"] = {**fixed["parameters"], **_weights(protocol, asked.get("parameters", {}))}
    return ReconSettings(**merged)


def check_settings(protocol: ReconProtocol, settings: ReconSettings, weights_sha256: str | None) -> None:
    """Raise InputError unless `settings`, with weights of that sha256, are the protocol's."""
    fixed = _fixed(protocol)
    for key, value in fixed.items():
        if key != "parameters" and getattr(settings, key) != value:
            _refuse(protocol, key, getattr(settings, key), value)
    if "parameters" in fixed:
        _agree(protocol, fixed, settings.parameters)
    expected = protocol.method.weights_sha256 if protocol.method is not None else None
    if expected is not None and weights_sha256 != expected:
        raise InputError(
            f"protocol {protocol.name} is of weights with sha256 {expected[:12]}…, these have "
            f"{(weights_sha256 or 'none')[:12]}…; name the right file with `weights`"
        )


def _fixed(protocol: ReconProtocol) -> dict[str, Any]:
    """Return the fields of ReconSettings that the protocol fixes."""
    fixed: dict[str, Any] = {
        "mask": protocol.mask.kind,
        "accel": protocol.mask.accel,
        "calibration": protocol.mask.calibration,
        "center_fraction": protocol.mask.center_fraction,
        "seed": protocol.mask.seed,
        "coils": protocol.coils.compress,
        "maps": protocol.coils.maps,
        "map_sets": protocol.coils.map_sets,
        "target": protocol.target.kind,
        "slices": protocol.slices,
    }
    if protocol.method is not None:
        fixed |= {"method": protocol.method.name, "parameters": dict(protocol.method.parameters)}
    return fixed


def _agree(protocol: ReconProtocol, fixed: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    if "parameters" not in fixed:
        return
    open_ones = _weights(protocol, parameters)
    for key, value in parameters.items():
        if key not in open_ones and fixed["parameters"].get(key) != value:
            _refuse(protocol, f"{fixed['method']}.{key}", value, fixed["parameters"].get(key))


def _weights(protocol: ReconProtocol, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights among `parameters` where the protocol knows them by sha256: any path will do."""
    assert protocol.method is not None
    known = protocol.method.weights_sha256 is not None
    return {k: v for k, v in parameters.items() if k == "weights" and known}


def _refuse(protocol: ReconProtocol, key: str, asked: Any, fixed: Any) -> None:
    raise InputError(
        f"{key} {'none' if asked is None else asked} contradicts the protocol {protocol.name}, which has "
        f"{'none' if fixed is None else fixed}; leave that option out, or run without `protocol`"
    )


def protocol_volumes(
    protocol: ReconProtocol, inputs: Iterable[Path | str], out: Path
) -> tuple[list[Volume], int]:
    """Return the protocol's volumes among `inputs`, and how many files of folders it leaves out.

    Raises as `find_volumes`, and InputError where a file named by itself is not the protocol's, or where
    files of it are missing.
    """
    paths = [Path(path) for path in inputs]
    volumes = find_volumes(paths, out)
    files = {path.with_suffix(".cfl") if path.suffix == ".hdr" else path for path in paths}
    taken = [v for v in volumes if _is_of(protocol, v.path.name)]
    for volume in volumes:
        if volume.path in files and volume not in taken:
            raise InputError(f"{volume.path} is no file of the protocol {protocol.name}; leave it out")
    missing = sorted(protocol.data.sha256.keys() - {v.path.name for v in taken})
    if missing:
        raise InputError(
            f"{len(missing)} of {len(protocol.data.sha256)} files of the protocol {protocol.name} are not "
            f"there, the first is {missing[0]}; give the folders that hold all of them"
        )
    if not taken:
        raise InputError(f"no file is named as protocol {protocol.name} has it, {protocol.data.pattern}")
    if protocol.data.count not in (None, len(taken)):
        raise InputError(
            f"protocol {protocol.name} is of {protocol.data.count} files {protocol.data.pattern}, here are "
            f"{len(taken)}; give all of them, or `freeze` a protocol of your own"
        )
    return taken, len(volumes) - len(taken)


def _is_of(protocol: ReconProtocol, name: str) -> bool:
    if protocol.frozen:
        return name in protocol.data.sha256
    return fnmatch.fnmatchcase(name, protocol.data.pattern)


def expected_hashes(protocol: ReconProtocol | None) -> Mapping[str, str]:
    """Return the sha256 of raw files by name, empty where none are frozen."""
    return {} if protocol is None else protocol.data.sha256


def freeze(
    name: str,
    settings: ReconSettings,
    volumes: Iterable[Volume],
    *,
    with_method: bool = True,
    pattern: str = "*",
    progress: Callable[[int, int], None] | None = None,
) -> ReconProtocol:
    """Return the protocol of exactly these files and settings; every raw file is read for its sha256.

    with_method: freeze the method too, its parameters with their defaults and the sha256 of its weights;
    progress: called with (files read, files in all).  Raises InputError where weights cannot be loaded.
    """
    listed = list(volumes)
    hashes = {}
    for done, volume in enumerate(listed):
        if progress is not None:
            progress(done, len(listed))
        hashes[volume.path.name] = scan_digest(volume.path)
    if progress is not None:
        progress(len(listed), len(listed))
    return ReconProtocol(
        name=name,
        data=Data(pattern=pattern, count=len(hashes) or None, sha256=hashes),
        mask=MaskSpec(
            kind=settings.mask,
            accel=settings.accel,
            calibration=settings.calibration,
            center_fraction=settings.center_fraction,
            seed=settings.seed,
        ),
        coils=CoilSettings(compress=settings.coils, maps=settings.maps, map_sets=settings.map_sets),
        target=Target(kind=settings.target),
        method=_method_spec(settings) if with_method else None,
        slices=settings.slices,
    )


def _method_spec(settings: ReconSettings) -> MethodSpec:
    method = get_method(settings.method, **settings.parameters)
    found = {one.name: getattr(method, one.name) for one in fields(method)}
    digest = None
    if "weights" in found:
        facts = load_weights(found["weights"])[1]
        digest = facts["sha256"]
        # The digest says which; a file of one's own is named by --weights, wherever it lies then.
        if Path(found["weights"] or "").suffix == ".safetensors":
            found["weights"] = None
        else:
            found["weights"] = facts["file"].removesuffix(".safetensors")
    return MethodSpec(
        name=settings.method,
        parameters={key: value for key, value in found.items() if value is not None},
        weights_sha256=digest,
    )
