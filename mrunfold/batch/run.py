"""Raw files and settings → a folder of volumes and its manifest; what died on the way is picked up."""

from __future__ import annotations

import datetime
import errno
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mrunfold.batch.manifest import Manifest, only_batch
from mrunfold.batch.plan import Volume, check_outputs, differences, digest_of, find_volumes, full_settings
from mrunfold.batch.volume import Work, reconstruct_volume
from mrunfold.errors import InputError
from mrunfold.io import sha256_of
from mrunfold.methods.registry import get_method
from mrunfold.pipeline import ReconSettings
from mrunfold.pipeline.slices import choose_device

__all__ = ["Batch", "Progress", "run_batch"]

# (volumes seen to, volumes in all, slices done of the one in hand, slices of it)
Progress = Callable[[int, int, float, int], None]
# The next volume would meet these as well.
NO_WAY_ON = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
LEFT_BEHIND = re.compile(r"\.part-[0-9a-f]{8}-.+\.h5")


@dataclass
class Batch:
    """How far a batch is: names of volumes done in this run, found done, and failed with their messages."""

    volumes: int = 0
    slices: int = 0
    seconds: float = 0.0
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_batch(
    inputs: Iterable[Path | str],
    out: Path | str,
    settings: ReconSettings | None = None,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
    batch: Batch | None = None,
) -> Batch:
    """Reconstruct files, and the raw data in folders, each into `out`/NAME.h5, and keep `out`/manifest.jsonl.

    Only what is missing or changed is done; retry_failed: what failed before too; overwrite: under other
    settings than before, which removes the earlier volumes.  A volume that cannot be reconstructed is noted
    and the rest goes on.  batch: filled as volumes are done, for who wants to know after an interruption.
    Raises InputError before the work for a bad command, a folder in use or other settings, and in between
    where nothing more can be written; OSError likewise.  What is done by then stays.
    """
    settings = ReconSettings(seed="name") if settings is None else settings
    batch = Batch() if batch is None else batch
    folder = Path(out)
    volumes = find_volumes(inputs, folder)
    method = get_method(settings.method, **settings.parameters)
    device = choose_device(settings.device)
    facts = full_settings(settings, method, device)
    work = Work(settings, method, device, facts.get("weights_sha256"), digest_of(facts))
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    with only_batch(folder):
        manifest = Manifest(folder)
        check_outputs(volumes, manifest.listed)
        _settle(manifest, folder, facts, work.digest, overwrite)
        for path in folder.iterdir():
            if LEFT_BEHIND.fullmatch(path.name):  # of a process that was killed: nobody else writes here
                path.unlink()
        batch.volumes = len(volumes)
        for number, volume in enumerate(volumes):
            shown = None if progress is None else partial(progress, number, len(volumes))
            _one(volume, manifest, work, retry_failed, batch, shown)
    return batch


def _settle(manifest: Manifest, folder: Path, facts: dict[str, Any], digest: str, overwrite: bool) -> None:
    """Have the manifest hold these settings, or raise InputError."""
    if manifest.digest == digest:
        return
    if manifest.settings is not None and not overwrite:
        raise InputError(
            f"{folder} holds a batch with other settings: {differences(manifest.settings, facts)}; choose "
            "another --out, or add --overwrite to do all of it again"
        )
    # Removed before the new settings hold: a folder never mixes volumes of two settings.
    for name, record in manifest.volumes.items():
        path = folder / f"{name}.h5"
        if record["status"] == "ok" and path.is_file() and sha256_of(path) == record["output_sha256"]:
            path.unlink()
    manifest.begin(facts, digest)


def _one(
    volume: Volume,
    manifest: Manifest,
    work: Work,
    retry_failed: bool,
    batch: Batch,
    progress: Callable[[float, int], None] | None,
) -> None:
    """Do one volume if it is not done, and note how it went."""
    before = manifest.volumes.get(volume.name)
    record: dict[str, Any] = {"name": volume.name, "input": volume.path.name, "input_sha256": None}
    began = time.perf_counter()
    try:
        record["input_sha256"] = digest = sha256_of(volume.path)
        if before is not None and before["input_sha256"] == digest:
            if before["status"] == "ok" and _intact(volume.final, before["output_sha256"]):
                batch.kept.append(volume.name)
                return
            if before["status"] == "failed" and not retry_failed:
                batch.failed[volume.name] = before["message"]
                return
        record |= reconstruct_volume(volume, digest, work, progress)
        record |= {"status": "ok", "message": ""}
    except Exception as error:
        _raise_if_fatal(error)
        record |= {"status": "failed", "output_sha256": None, "message": _message(error, volume)}
        # What an earlier state of the file gave is not this file's reconstruction.
        volume.final.unlink(missing_ok=True)
    record["wall_seconds"] = time.perf_counter() - began
    record["finished"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    manifest.add(record)
    if record["status"] == "ok":
        batch.done.append(volume.name)
        batch.slices += record["slices"]
        batch.seconds += record["wall_seconds"]
    else:
        batch.failed[volume.name] = record["message"]


def _intact(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def _raise_if_fatal(error: BaseException) -> None:
    """Raise where no other volume would fare better: a hidden interruption, no place to write."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause
        refused = isinstance(cause, PermissionError) and str(error).startswith("cannot write")
        if isinstance(cause, OSError) and (cause.errno in NO_WAY_ON or refused):
            raise error
        cause = cause.__cause__ or cause.__context__


def _message(error: Exception, volume: Volume) -> str:
    """Return one line that says what is wrong, without the folders that the files lie in."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        text = "out of memory; try fewer coils (--coils 8)"
    elif not isinstance(error, (InputError, OSError)):
        text = f"{type(error).__name__}: {text} (a bug in mrunfold: please report it)"
    for folder in {volume.path.parent, volume.final.parent, volume.path.parent.absolute()}:
        if folder != Path("."):
            text = text.replace(f"{folder}{os.sep}", "")
    if volume.path.name not in text:
        text = f"{volume.path.name}: {text}"
    return text[:500]
