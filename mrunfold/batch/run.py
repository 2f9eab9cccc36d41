"""Raw files and settings → a folder of volumes and its manifest; what died on the way is picked up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mrunfold.batch.cluster import Fleet, open_fleet
from mrunfold.batch.manifest import Manifest, only_batch
from mrunfold.batch.plan import check_outputs, differences, digest_of, find_volumes, full_settings
from mrunfold.batch.protocol import check_settings, expected_hashes, protocol_volumes
from mrunfold.batch.task import Outcome, Task, attend, cpu_threads
from mrunfold.batch.volume import Work
from mrunfold.errors import InputError
from mrunfold.io import sha256_of
from mrunfold.methods.registry import get_method
from mrunfold.pipeline import ReconSettings
from mrunfold.pipeline.slices import choose_device
from mrunfold.protocols.reconstruction import ReconProtocol

__all__ = ["Batch", "Progress", "run_batch"]

# (volumes seen to, volumes in all, slices done of the one in hand, slices of it)
Progress = Callable[[int, int, float, int], None]
LEFT_BEHIND = re.compile(r"\.part-[0-9a-f]{8}-.+\.h5")


@dataclass
class Batch:
    """How far a batch is: names of volumes done in this run, found done, and failed with their messages.

    left_out: files in the folders that the protocol does not list.
    """

    volumes: int = 0
    slices: int = 0
    seconds: float = 0.0
    left_out: int = 0
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_batch(
    inputs: Iterable[Path | str],
    out: Path | str,
    settings: ReconSettings | None = None,
    *,
    protocol: ReconProtocol | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    tls: Path | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
    batch: Batch | None = None,
) -> Batch:
    """Reconstruct files, and the raw data in folders, each into `out`/NAME.h5, and keep `out`/manifest.jsonl.

    Only what is missing or changed is done; retry_failed: what failed before too; overwrite: under other
    settings than before, which removes the earlier volumes.  A volume that cannot be reconstructed is noted
    and the rest goes on.  protocol: settings must be its own, see `protocol_settings`, and its digest goes
    into each file; workers, scheduler, tls: as `open_fleet` has them.  Outputs are bit-equal for any number
    of workers with the same `settings.threads` (None: 1 in workers).
    batch: filled as volumes are done, for who wants to know after an interruption.
    Raises InputError before the work for a bad command, a folder in use or other settings, and in between
    where nothing more can be written; OSError likewise.  What is done by then stays.
    """
    settings = ReconSettings(seed="name") if settings is None else settings
    batch = Batch() if batch is None else batch
    folder = Path(out)
    if protocol is None:
        volumes = find_volumes(inputs, folder)
    else:
        volumes, batch.left_out = protocol_volumes(protocol, inputs, folder)
    method = get_method(settings.method, **settings.parameters)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with `out`")
    with ExitStack() as stack:
        fleet = None
        if workers is not None or scheduler is not None or tls is not None:
            fleet = stack.enter_context(open_fleet(workers, scheduler, settings.threads, tls))
            settings = replace(settings, threads=fleet.threads)
        folder.mkdir(parents=True, exist_ok=True)
        device = choose_device(settings.device) if fleet is None else fleet.device(settings.device, folder)
        facts = full_settings(settings, method, device, protocol)
        weights = facts.get("weights_sha256")
        if protocol is not None:
            check_settings(protocol, settings, weights)
        work = Work(settings, method, device, weights, digest_of(facts), facts.get("protocol_digest"))
        stack.enter_context(only_batch(folder))
        manifest = Manifest(folder)
        check_outputs(volumes, manifest.listed)
        _settle(manifest, folder, facts, work.digest, overwrite)
        _sweep(folder)
        batch.volumes = len(volumes)
        sha256 = expected_hashes(protocol)
        earlier = manifest.volumes
        tasks = [Task(v, earlier.get(v.name), retry_failed, sha256.get(v.path.name)) for v in volumes]
        for outcome in _outcomes(tasks, work, fleet, progress):
            _note(outcome, manifest, batch)
        _sweep(folder)  # what lost workers had in hand
    return batch


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left half written: nobody else writes here."""
    for path in folder.iterdir():
        if LEFT_BEHIND.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _outcomes(
    tasks: list[Task], work: Work, fleet: Fleet | None, progress: Progress | None
) -> Iterator[Outcome]:
    """Yield outcomes as they are known: one after the other here, in any order from a fleet."""
    if fleet is None:
        for number, task in enumerate(tasks):
            shown = None if progress is None else partial(progress, number, len(tasks))
            with cpu_threads(work.settings.threads):
                outcome = attend(task, work, shown)
            yield outcome
        return
    for number, outcome in enumerate(fleet.outcomes(tasks, work)):
        if progress is not None and outcome.status == "ok":
            slices = (outcome.record or {}).get("slices", 1)
            progress(number, len(tasks), slices, slices)
        yield outcome


def _note(outcome: Outcome, manifest: Manifest, batch: Batch) -> None:
    """Add the outcome to the manifest, which nobody but this process writes, and to `batch`."""
    if outcome.record is not None:
        manifest.add(outcome.record)
    if outcome.status == "kept":
        batch.kept.append(outcome.name)
    elif outcome.status == "failed":
        batch.failed[outcome.name] = outcome.message
    else:
        assert outcome.record is not None
        batch.done.append(outcome.name)
        batch.slices += outcome.record["slices"]
        batch.seconds += outcome.record["wall_seconds"]


def _settle(manifest: Manifest, folder: Path, facts: dict[str, Any], digest: str, overwrite: bool) -> None:
    """Have the manifest hold these settings, or raise InputError."""
    if manifest.digest == digest:
        return
    others = {n: r for n, r in manifest.volumes.items() if r["settings_digest"] != digest}
    if (manifest.settings is not None or others) and not overwrite:
        differ = "unknown, its line in the manifest is gone"
        if manifest.settings is not None:
            differ = differences(manifest.settings, facts)
        raise InputError(
            f"{folder} holds a batch with other settings: {differ}; choose another `out`, or add "
            "`overwrite` to do all of it again"
        )
    # Removed before the new settings hold: a folder never mixes volumes of two settings.
    for name, record in others.items():
        path = folder / f"{name}.h5"
        if record["status"] == "ok" and path.is_file() and sha256_of(path) == record["output_sha256"]:
            path.unlink()
    manifest.begin(facts, digest)
