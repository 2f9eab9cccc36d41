"""`mrunfold bench batch`: what a slice, a volume and a task cost here, and a fleet counted from that."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrunfold.batch import MANIFEST, find_volumes, run_batch
from mrunfold.batch.cluster import Fleet, open_fleet
from mrunfold.batch.plan import digest_of, full_settings
from mrunfold.batch.task import Task, cpu_threads
from mrunfold.batch.volume import Work
from mrunfold.benchmarks.store import about
from mrunfold.errors import InputError
from mrunfold.export import versions
from mrunfold.methods.registry import get_method
from mrunfold.phantoms.folder import generate_folder
from mrunfold.pipeline import ReconSettings
from mrunfold.pipeline.slices import choose_device

__all__ = ["SETS", "Sizes", "fleet_markdown", "measure", "measured_markdown"]

# fastMRI's validation sets: volumes and slices, as its paper counts them.
SETS = {"knee": (199, 7135), "brain": (1378, 21842)}
FLEETS = (1, 8, 64)
BARE = ("read", "problem", "method")  # what the method needs without any batch around it
EMPTY_TASKS = 200
SMALL = 64  # pixels of the slices that memory is watched over
Report = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """Of what is measured: volumes of `slices` simulated knee slices with `coils` coils, `size` pixels wide;
    memory_slices: so many small slices while memory is watched, a multiple of 50."""

    volumes: int = 4
    slices: int = 4
    coils: int = 15
    size: int = 320
    memory_slices: int = 200


def measure(sizes: Sizes, settings: ReconSettings, report: Report = lambda line: None) -> dict[str, Any]:
    """Return what was measured here, as `bench batch --out` writes it; report gets a line as each is known.

    Every ratio is of two things measured in this run.  InputError where Dask is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as name:
        folder = Path(name)
        raw = folder / "raw"
        generate_folder(
            raw,
            volumes=sizes.volumes,
            kind="knee",
            size=sizes.size,
            slices=sizes.slices,
            max_coils=sizes.coils,
        )
        found: dict[str, Any] = {
            **about("batch"),
            "sizes": vars(sizes),
            "method": settings.method,
            "device": choose_device(settings.device).type,
            "versions": versions(("mrunfold", "torch", "dask")),
        }
        found |= _in_process(raw, folder, settings, report)
        found["memory"] = _memory(folder, sizes.memory_slices, settings, report)
        found |= _workers(raw, folder, settings, report)
    return found


def _in_process(raw: Path, folder: Path, settings: ReconSettings, report: Report) -> dict[str, Any]:
    """Cost a slice by stage with one thread, and what the batch adds to it."""
    one = replace(settings, threads=1)
    run_batch([raw], folder / "warm", replace(one, slices="0"))
    began = time.perf_counter()
    batch = run_batch([raw], folder / "out", one)
    wall = time.perf_counter() - began
    if batch.failed:
        raise InputError(f"the benchmark failed: {next(iter(batch.failed.values()))}")
    lines = [json.loads(line) for line in (folder / "out" / MANIFEST).read_text("utf-8").splitlines()[1:]]
    stages = {name: sum(line["seconds"][name] for line in lines) / batch.slices for name in (*BARE, "write")}
    bare = sum(stages[name] for name in BARE)
    bytes_read = sum(path.stat().st_size for path in raw.iterdir()) / batch.slices
    overhead = wall / batch.slices / bare - 1
    report(f"one thread: {bare:.3f} s a slice bare, the batch adds {100 * overhead:.1f} %")
    return {
        "seconds_per_slice": stages,
        "bare_seconds_per_slice": bare,
        "batch_seconds_per_slice": wall / batch.slices,
        "batch_overhead": overhead,
        "bytes_per_slice": bytes_read,
    }


def _memory(folder: Path, slices: int, settings: ReconSettings, report: Report) -> dict[str, Any] | None:
    """Resident memory over many small slices; None where the system does not say."""
    if not Path("/proc/self/statm").exists():
        return None
    raw = folder / "small"
    generate_folder(raw, volumes=max(1, slices // 50), kind="knee", size=SMALL, slices=50, max_coils=4)
    resident: list[float] = []

    def watch(volume: int, volumes: int, done: float, total: int) -> None:
        if done == int(done) and done < total:
            resident.append(_resident_mb())

    small = replace(settings, threads=1, calibration=12)
    run_batch([raw], folder / "small_out", small, progress=watch)
    quarter = len(resident) // 4
    early, late = max(resident[quarter : 2 * quarter]), max(resident[-quarter:])
    growth = late / early - 1
    report(f"memory over {len(resident)} slices: {early:.0f} → {late:.0f} MB, {100 * growth:+.1f} %")
    return {"slices": len(resident), "early_mb": early, "late_mb": late, "growth": growth}


def _resident_mb() -> float:
    import resource

    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def _workers(raw: Path, folder: Path, settings: ReconSettings, report: Report) -> dict[str, Any]:
    """One worker of two threads against two of one, over the same volumes, and what an empty task costs."""
    with open_fleet(1, None, 2) as fleet:
        one = _timed(raw, folder / "one", fleet, settings)
    with open_fleet(2, None, 1) as fleet:
        task = _empty_tasks(fleet)
        two = _timed(raw, folder / "two", fleet, settings)
    report(f"an empty task: {1e3 * task:.1f} ms")
    report(f"two workers of one thread are {one / two:.2f}× as fast as one of two")
    return {
        "task_seconds": task,
        "one_worker_two_threads": one,
        "two_workers_one_thread": two,
        "two_over_one": one / two,
    }


def _timed(raw: Path, out: Path, fleet: Fleet, settings: ReconSettings) -> float:
    """Return the seconds of all volumes on workers that have loaded the weights already."""
    out.mkdir()
    method = get_method(settings.method, **settings.parameters)
    device = choose_device(settings.device)
    facts = full_settings(settings, method, device)
    work = Work(settings, method, device, facts.get("weights_sha256"), digest_of(facts))
    first = replace(work, settings=replace(settings, slices="0"))
    tasks = [Task(volume) for volume in find_volumes([raw], out)]
    for _ in fleet.outcomes(tasks, first):
        pass
    with cpu_threads(1):  # this process only waits
        began = time.perf_counter()
        for outcome in fleet.outcomes(tasks, work):
            if outcome.status != "ok":
                raise InputError(f"the benchmark failed: {outcome.message}")
        return time.perf_counter() - began


def _empty_tasks(fleet: Fleet) -> float:
    fleet.client.gather(fleet.client.map(_nothing, range(10), pure=False))
    began = time.perf_counter()
    fleet.client.gather(fleet.client.map(_nothing, range(EMPTY_TASKS), pure=False))
    return (time.perf_counter() - began) / EMPTY_TASKS


def _nothing(x: int) -> int:
    return x


def measured_markdown(found: dict[str, Any]) -> str:
    """Return the measurements as a Markdown table, limits beside them."""
    sizes, stages, memory = found["sizes"], found["seconds_per_slice"], found["memory"]
    rows = [
        ("slice", f"{sizes['coils']} coils, {2 * sizes['size']} × {round(sizes['size'] * 368 / 320)}", ""),
        ("method, device", f"{found['method']}, {found['device']}, 1 thread", ""),
        *((f"{name}, s a slice", f"{stages[name]:.3f}", "") for name in (*BARE, "write")),
        ("batch over bare method", f"{100 * found['batch_overhead']:.1f} %", "≤ 5 %"),
    ]
    if memory is not None:
        rows.append((f"memory over {memory['slices']} slices", f"{100 * memory['growth']:+.1f} %", "< 10 %"))
    rows.append(("an empty task, ms", f"{1e3 * found['task_seconds']:.1f}", ""))
    rows.append(("2 workers × 1 thread over 1 × 2", f"{found['two_over_one']:.2f}×", ""))
    lines = ["| measured | | limit |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return "\n".join(lines) + "\n"


def fleet_markdown(found: dict[str, Any], gpu_factor: float) -> str:
    """Return hours for fastMRI's validation sets on fleets, as a Markdown table.

    A worker has a core, or a core and a GPU that is assumed to run the method `gpu_factor` times as fast.
    Volumes have the set's mean of slices: hours = ⌈V / W⌉ · (slices/V · t_slice + t_task); reading
    counts each byte twice, for the sha256 and for the work: the check at the end finds it in memory.
    """
    stages, batch = found["seconds_per_slice"], found["batch_seconds_per_slice"]
    costs = {
        "core": batch,
        f"core + GPU ({gpu_factor:g}×, assumed)": batch - stages["method"] * (1 - 1 / gpu_factor),
    }
    lines = [
        "| set | a worker has | workers | hours | workers busy | reading, MB/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, (volumes, slices) in SETS.items():
        for device, seconds in costs.items():
            for workers in FLEETS:
                rounds = math.ceil(volumes / workers)
                span = rounds * (slices / volumes * seconds + found["task_seconds"])
                busy = volumes / (rounds * workers)
                rate = 2 * found["bytes_per_slice"] * slices / span / 1e6
                lines.append(
                    f"| {name} | {device} | {workers} | {span / 3600:.2f} | {100 * busy:.0f} % | {rate:.0f} |"
                )
    return "\n".join(lines) + "\n"
