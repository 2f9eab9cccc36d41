"""The whole of `recon`, against the same command with SigPy's maps and L1-wavelet."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrunfold.benchmarks.head import write_head
from mrunfold.benchmarks.store import about
from mrunfold.pipeline import ReconSettings
from mrunfold.pipeline.run import reconstruct

__all__ = ["STAGES", "measure", "one_run", "settings"]

STAGES = ("read", "hash", "problem", "method", "write", "export")
TARGET = 8.0


def settings(size: int, weights: str | None = None, classical: int = 0, device: str = "cpu") -> ReconSettings:
    """Return what `recon` is asked for: Poisson R = 8, maps made anew; classical: so many steps of L1-wavelet
    with SigPy's maps instead of the learned mean."""
    common: dict[str, Any] = {
        "mask": "poisson",
        "accel": 8.0,
        "calibration": (min(24, size // 3), min(24, size // 3)),
        "cache": False,
    }
    if classical:
        return ReconSettings(method="l1_wavelet", parameters={"max_iter": classical}, maps="sigpy", **common)
    return ReconSettings(method="unfold", parameters={"weights": weights}, device=device, **common)


def one_run(scan: Path, chosen: ReconSettings) -> dict[str, Any]:
    """Run `recon` in this process, and return the seconds of the whole, of its stages, and the record."""
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as folder:
        begin = time.perf_counter()
        done = reconstruct(scan, Path(folder) / "out", chosen)
        seconds = time.perf_counter() - begin
        written = sum(path.stat().st_size for path in done.folder.iterdir())
    return {"seconds": seconds, "record": done.record, "written": written}


def measure(
    coils: int = 15,
    size: int = 320,
    repeats: int = 5,
    iterations: int = 60,
    weights: str | None = None,
    report: Callable[[str], None] = lambda line: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time both commands on one simulated slice, from its file to their folders, in turns of one process.

    Process start and imports are not in it: both commands run on a small scan first.  Both compress the coils
    as `recon` does by default.  The ratio is of medians; SigPy's command runs a third as often.
    """
    commands = {"ours": settings(size, weights, device=device), "sigpy": settings(size, classical=iterations)}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as name:
        folder = Path(name)
        (folder / "small").mkdir()
        small = write_head(folder / "small", 4, 64)
        one_run(small, settings(64, classical=1))
        one_run(small, settings(64, weights, device=device))
        scan = write_head(folder, coils, size)
        for turn in range(repeats):
            for command, chosen in commands.items():
                if command == "sigpy" and turn % 3:
                    continue
                runs[command].append(one_run(scan, chosen))
                report(f"{command}, run {turn + 1}: {runs[command][-1]['seconds']:.2f} s")
    rows = [_row(name, found) for name, found in runs.items()]
    ratio = rows[1]["seconds"] / rows[0]["seconds"]
    return {
        **about("recon"),
        "coils": coils,
        "size": size,
        "iterations": iterations,
        "device": device,
        "rows": rows,
        "ratio": ratio,
        "target": TARGET,
    }


def _row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    record = runs[-1]["record"]
    stages = {s: statistics.median(r["record"]["seconds"].get(s, 0.0) for r in runs) for s in STAGES}
    # Making coil maps is part of the problem's time.
    maps = statistics.median(r["record"]["slices"][0]["problem"]["seconds"].get("maps", 0.0) for r in runs)
    return {
        "name": name,
        "seconds": statistics.median(run["seconds"] for run in runs),
        "stages": stages,
        "maps": maps,
        "psnr": record["metrics"]["psnr"],
        "weights": record["slices"][0]["method"].get("weights_sha256"),
    }
