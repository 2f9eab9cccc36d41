"""`mrunfold bench volume`: `recon` of a volume as a user starts it, beside SigPy and BART, in one run."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mrunfold.benchmarks.head import write_volume
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.speed import recon
from mrunfold.benchmarks.speed.process import processor, used
from mrunfold.benchmarks.store import about
from mrunfold.io import open_scan
from mrunfold.io.cfl import write_cfl
from mrunfold.masks import draw
from mrunfold.pipeline import ReconSettings
from mrunfold.pipeline.run import reconstruct
from mrunfold.pipeline.scores import score_volume
from mrunfold.pipeline.threads import available_cores
from mrunfold.pipeline.volume import read_slices

__all__ = ["VolumeRow", "markdown", "measure", "run_slices", "sentence"]

ACCEL = 8.0
CALIBRATION = 24
OURS, UNCHECKED, OUR_MAPS, SIGPY, BART = "ours", "unchecked", "sigpy, our maps", "sigpy", "bart"
PICS = ("pics", "-l1", "-r", "0.005", "-i", "30")
Report = Callable[[str], None]


@dataclass(frozen=True)
class VolumeRow:
    """What a program took, files and start included, over `n` slices.

    seconds, cpu: wall and processor seconds (user and system, all threads) a slice of the whole volume: where
    `n` is less, the slices that are missing count as the mean of those after the first; first: wall seconds
    from the start to the first slice's image; further, further_cpu: those of each slice after, on average;
    memory_mib: peak resident memory; joules: of all sockets a slice, None without counters; psnr: in dB, of
    the slices that all rows have, None for a program that is not scored.
    """

    name: str
    n: int
    seconds: float
    cpu: float
    first: float
    further: float
    further_cpu: float
    memory_mib: float
    joules: float | None = None
    psnr: float | None = None


def measure(
    slices: int = 30,
    coils: int = 15,
    size: int = 320,
    iterations: int = 60,
    slow: int = 3,
    weights: str | None = None,
    device: str = "cpu",
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Time each program on one simulated volume, Poisson R = 8, one after another, and return what was found.

    Each is started by itself, with the threads that it takes by default.  slow: slices of the row with
    SigPy's ESPIRiT, evenly spread; iterations: of L1-wavelet; device: where ours runs.  Both SigPy rows run
    by `recon` without its check: the same file, mask, compression and folder.  BART has the same samples, in
    files of its own.  BART is left out, with the reason, where it is not installed.
    """
    before = _load()
    ours = recon.settings(size, weights, device=device)
    classical = replace(recon.settings(size, classical=iterations), check=0)
    few = min(slow, slices)
    spread = [int((place + 0.5) * slices / few) for place in range(few)]
    every = list(range(slices))
    chosen: list[tuple[str, ReconSettings, list[int]]] = [
        (OURS, ours, every),
        (UNCHECKED, replace(ours, check=0), every),
        (OUR_MAPS, replace(classical, maps="torch"), every),
        (SIGPY, classical, spread),
    ]
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as name:
        folder = Path(name)
        scan = write_volume(folder, coils, size, slices)
        rows = []
        for label, settings, indices in chosen:
            rows.append(_recon_row(label, scan, settings, indices, slices, spread))
            report(_line(rows[-1]))
        if shutil.which("bart") is None:
            skipped[BART] = "bart is not installed"
        else:
            rows.append(_bart_row(scan, folder, size, slices))
            report(_line(rows[-1]))
    return {
        **about("volume"),
        "processor": processor(),
        "cores": available_cores(),
        "load": [before, _load()],
        "slices": slices,
        "coils": coils,
        "size": size,
        "iterations": iterations,
        "device": device,
        "scored": spread,
        "skipped": skipped,
        "energy": rows[0].joules is not None,
        "rows": [asdict(row) for row in rows],
    }


def _line(row: VolumeRow) -> str:
    return f"{row.name}: {row.seconds:.2f} s a slice, {row.cpu:.2f} processor seconds ({row.n} slices)"


def _load() -> float | None:
    """Return how many processes wanted a core on average in the last minute, this one included."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _recon_row(
    name: str, scan: Path, settings: ReconSettings, indices: Sequence[int], slices: int, scored: Sequence[int]
) -> VolumeRow:
    """Run `recon` in a process of its own, and return its row."""
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as folder:
        asked = replace(settings, slices=",".join(map(str, indices)))
        words = {"scan": str(scan), "folder": folder, "settings": asdict(asked)}
        code = "import sys; from mrunfold.benchmarks.speed.volume import run_slices; run_slices(sys.argv[1])"
        took = used([sys.executable, "-c", code, json.dumps(words)], Path(folder))
        marks = json.loads((Path(folder) / "marks.json").read_text(encoding="utf-8"))
        psnr = _psnr(Path(folder) / "out" / "recon.h5", [indices.index(index) for index in scored])
    wall = [at - took.began for at, _ in marks]
    n = len(indices)
    further, further_cpu = wall[0], marks[0][1]
    if n > 1:
        further, further_cpu = (wall[-1] - wall[0]) / (n - 1), (marks[-1][1] - marks[0][1]) / (n - 1)
    missing = slices - n
    return VolumeRow(
        name,
        n,
        (took.seconds + missing * further) / slices,
        (took.cpu + missing * further_cpu) / slices,
        wall[0],
        further,
        further_cpu,
        took.memory_mib,
        None if took.joules is None else took.joules / n,
        psnr,
    )


def run_slices(words: str) -> None:
    """Reconstruct as `words` say, a JSON text {scan, folder, settings}, and write the clocks at each slice's
    end, [monotonic, processor seconds], into folder/marks.json."""
    asked = json.loads(words)
    given = asked["settings"]
    given["calibration"] = tuple(given["calibration"])
    given["save"] = tuple(given["save"])
    folder = Path(asked["folder"])
    marks: list[tuple[float, float]] = []

    def progress(done: float, total: int) -> None:
        if done >= len(marks) + 1:
            marks.append((time.monotonic(), time.process_time()))

    reconstruct(asked["scan"], folder / "out", ReconSettings(**given), progress=progress)
    (folder / "marks.json").write_text(json.dumps(marks), encoding="utf-8")


def _psnr(path: Path, places: Sequence[int]) -> float | None:
    """Return the PSNR of some slices of a recon.h5 against its own target."""
    psnr = score_volume(
        lambda: read_slices(path, "target", places), lambda: read_slices(path, "reconstruction", places)
    )["psnr"]
    return None if psnr is None else float(psnr)


def _bart_row(scan: Path, folder: Path, size: int, slices: int) -> VolumeRow:
    """Run BART's `ecalib` and `pics` on each slice: two starts and their files a slice."""
    width = min(CALIBRATION, size // 3)
    mask = draw("poisson", (size, size), ACCEL, seed=0, calibration=(width, width)).array
    wall, cpu, memory, joules = [], [], [], []
    with open_scan(scan) as opened:
        for index in range(slices):
            write_cfl(folder / "kspace", (mask * opened.kspace(index)).transpose(1, 2, 0)[:, :, None])
            took = [
                used(["bart", *words], folder)
                for words in (
                    ("ecalib", "-m1", f"-r{width}", "kspace", "maps"),
                    (*PICS, "kspace", "maps", "image"),
                )
            ]
            wall.append(sum(one.seconds for one in took))
            cpu.append(sum(one.cpu for one in took))
            memory.append(max(one.memory_mib for one in took))
            joules += [one.joules for one in took]
    later, later_cpu = (wall[1:], cpu[1:]) if slices > 1 else (wall, cpu)
    known = [one for one in joules if one is not None]
    return VolumeRow(
        BART,
        slices,
        statistics.mean(wall),
        statistics.mean(cpu),
        wall[0],
        statistics.mean(later),
        statistics.mean(later_cpu),
        max(memory),
        sum(known) / slices if len(known) == len(joules) else None,
    )


def markdown(found: dict[str, Any]) -> str:
    """Return a row for each program, with ratios against ours, as a Markdown table."""
    names = {
        OURS: "`recon` (its defaults)",
        UNCHECKED: "`recon --check 0`",
        OUR_MAPS: f"SigPy L1-wavelet, {found['iterations']} iterations, our maps",
        SIGPY: f"SigPy L1-wavelet, {found['iterations']} iterations, SigPy's maps",
        BART: "BART `ecalib` and `pics -l1`, 30 iterations",
    }
    ours = next(VolumeRow(**row) for row in found["rows"] if row["name"] == OURS)
    rows = []
    for row in (VolumeRow(**row) for row in found["rows"]):
        cells = [
            names[row.name],
            f"{row.n}",
            f"{row.seconds:.2f}",
            f"{row.seconds / ours.seconds:.2f}",
            f"{row.cpu:.2f}",
            f"{row.cpu / ours.cpu:.2f}",
            f"{row.first:.2f}",
            f"{row.further:.2f}",
            f"{row.further_cpu:.2f}",
            f"{row.memory_mib:.0f}",
            "–" if row.psnr is None else f"{row.psnr:.2f}",
        ]
        rows.append(cells + ([] if not found["energy"] else ["" if not row.joules else f"{row.joules:.1f}"]))
    head = ["program", "n", "s a slice", "/ `recon`", "processor s a slice", "/ `recon`"]
    head += ["first slice, s", "each further, s", "processor s", "peak memory, MiB", "PSNR, dB"]
    return rows_markdown(head + (["J a slice"] if found["energy"] else []), rows)


def sentence(found: dict[str, Any]) -> str:
    """Return what ran it and what was not measured, in words."""
    began, ended = found["load"]
    words = f"{found['processor']}, {found['cores']} cores, load {began} before and {ended} after."
    return words if found["energy"] else f"{words} Energy was left out: there are no RAPL counters here."
