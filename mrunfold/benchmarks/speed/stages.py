"""`mrunfold bench speed`: every stage of a slice against its peers and its bound, in one run."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mrunfold.benchmarks.head import head_block
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.speed import cost, maps, methods, recon
from mrunfold.benchmarks.store import about
from mrunfold.figures import new_figure
from mrunfold.io.atomic import atomic_path

__all__ = ["SpeedRow", "compare", "markdown", "measure", "tables", "write_csv", "write_picture"]

ACCEL = 8.0
CALIBRATION = 24
NETWORK = ("first solve", "priors", "data consistency", "levels and misfit")
PEERS = {
    "sigpy": "SigPy",
    "bart": "BART `ecalib`",
    "l1_wavelet": "SigPy L1-wavelet",
    "pics": "BART `pics -l1`",
    "recon": "SigPy's maps and L1-wavelet",
}


@dataclass(frozen=True)
class SpeedRow:
    """A stage's seconds, a peer's for the same work, and the seconds of what the stage cannot do without.

    ratio: how many times as fast as the peer; bound_by: FFT, convolution, matmul, memory or several; share:
    bound over seconds.  None where there is no peer, or no bound.
    """

    stage: str
    seconds: float
    peer: str | None = None
    peer_seconds: float | None = None
    ratio: float | None = None
    bound_by: str = ""
    bound: float | None = None
    share: float | None = None


def measure(
    coils: int = 15,
    size: int = 320,
    repeats: int = 5,
    iterations: int = 60,
    weights: str | None = None,
    device: str = "cpu",
    megabytes: int = 256,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure coil maps, the reconstruction and the whole of `recon` on one simulated slice, one by one.

    Poisson R = 8.  iterations: of L1-wavelet and TV; device: where ours runs; SigPy and BART are on the CPU,
    with as many threads; megabytes: of the copy that says what memory can do.  Found: the rows of `compare`,
    and under maps, methods, network, recon and cost what they are made of.
    """
    report("coil maps, each program in a process of its own")
    found_maps = maps.measure(coils, size, min(CALIBRATION, size // 3), lambda row: report(_maps_line(row)))
    report("methods, maps given")
    found_methods = methods.measure(
        None, coils, size, repeats, ACCEL, iterations, weights, lambda row: report(_method_line(row)), device
    )
    report("the network's stages and bounds")
    best = cost.machine(megabytes, device=device)
    host = best if device == "cpu" else cost.machine(megabytes)
    _, problem = methods.scan_problem(None, coils, size, ACCEL)
    network = cost.network_stages(problem.to(device), weights, repeats, best)
    block = head_block(coils, size, min(CALIBRATION, size // 3))
    products = cost.maps_bound(block, (size, size), host)
    report("the whole of recon, against the same with SigPy")
    found_recon = recon.measure(coils, size, repeats, iterations, weights, report, device)
    report("the stages of recon")
    found = {
        **about("speed"),
        "coils": coils,
        "size": size,
        "device": device,
        "maps": [asdict(row) for row in found_maps],
        "maps_bound": products,
        "methods": found_methods,
        "network": [asdict(stage) for stage in network],
        "recon": found_recon,
        "cost": cost.measure(coils, size, repeats, weights, megabytes, report, device),
    }
    return found | {"rows": [asdict(row) for row in compare(found)]}


def _maps_line(row: maps.MapsRow) -> str:
    return f"  {row.name}: {row.seconds:.3f} s, peak memory {row.memory_mib:.0f} MiB"


def _method_line(row: methods.MethodRow) -> str:
    return f"  {row.name}: {row.seconds:.3f} s, {row.psnr:.2f} dB"


def compare(found: dict[str, Any]) -> list[SpeedRow]:
    """Return a row for each stage and peer, in the order of the work: maps, reconstruction, the whole."""
    map_seconds = {row["name"]: row["seconds"] for row in found["maps"]}
    ways = {row["name"]: row["seconds"] for row in found["methods"]["rows"]}
    bounds = {stage["name"]: stage for stage in found["network"]}
    whole = {row["name"]: row["seconds"] for row in found["recon"]["rows"]}
    within = [stage for stage in found["cost"]["stages"] if stage["bound"]]
    rows = _rows(
        "coil maps",
        map_seconds["torch"],
        {name: map_seconds.get(name) for name in ("sigpy", "bart")},
        "matmul",
        found["maps_bound"],
    )
    rows += _rows(
        "reconstruction, maps given",
        ways["unfold"],
        {"l1_wavelet": ways["l1_wavelet"], "pics": ways.get("bart")},
        "FFT, convolution",
        math.fsum(bounds[name]["bound"] for name in NETWORK),
    )
    for name in NETWORK:
        stage = bounds[name]
        rows += _rows(f"… {name}", stage["seconds"], {}, stage["kind"], stage["bound"])
    rows += _rows(
        "`recon`, file to folder",
        whole["ours"],
        {"recon": whole["sigpy"]},
        "all of these",
        math.fsum(stage["bound"] for stage in within),
    )
    return rows


def _rows(
    stage: str,
    seconds: float,
    peers: dict[str, float | None],
    bound_by: str,
    bound: float,
) -> list[SpeedRow]:
    there = [(PEERS[name], s) for name, s in peers.items() if s is not None]
    share = bound / seconds
    if not there:
        return [SpeedRow(stage, seconds, None, None, None, bound_by, bound, share)]
    return [SpeedRow(stage, seconds, peer, s, s / seconds, bound_by, bound, share) for peer, s in there]


def markdown(found: dict[str, Any]) -> str:
    """Return the comparison as a Markdown table."""
    rows = []
    for row in (SpeedRow(**row) for row in found["rows"]):
        compared = row.peer is not None and row.peer_seconds is not None and row.ratio is not None
        rows.append(
            [
                row.stage,
                f"{row.seconds:.3f}",
                row.peer or "",
                f"{row.peer_seconds:.2f}" if compared else "",
                f"{row.ratio:.1f}" if compared else "",
                row.bound_by,
                "" if row.bound is None else f"{row.bound:.3f}",
                "" if row.share is None else f"{100 * row.share:.0f} %",
            ]
        )
    head = ["stage", "s", "peer", "its s", "× as fast", "bound by", "bound, s", "bound / s"]
    return rows_markdown(head, rows)


def tables(found: dict[str, Any]) -> list[str]:
    """Return all tables of a run: the comparison, then stages, methods and maps by themselves."""
    return [
        markdown(found),
        cost.markdown(found["cost"]),
        methods.markdown(found["methods"]),
        maps.markdown(found["maps"]),
    ]


def write_csv(found: dict[str, Any], path: Path) -> None:
    """Write the comparison as CSV, a line a stage and peer, seconds in full."""
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(SpeedRow)])
        writer.writeheader()
        writer.writerows(found["rows"])


def write_picture(found: dict[str, Any], path: Path) -> None:
    """Draw each stage's seconds, its peers' and its bound as bars on a logarithmic axis."""
    rows = [SpeedRow(**row) for row in found["rows"]]
    stages = list(dict.fromkeys(row.stage for row in rows))
    figure = new_figure(figsize=(9, 0.62 * len(stages) + 1), dpi=90, layout="tight")
    ax = figure.subplots()
    for place, stage in enumerate(stages):
        mine = [row for row in rows if row.stage == stage]
        bars = [("bound", mine[0].bound, "0.75"), ("mrunfold", mine[0].seconds, "C0")]
        bars += [(str(row.peer), row.peer_seconds, f"C{1 + n}") for n, row in enumerate(mine)]
        drawn = [(label, s, colour) for label, s, colour in bars if s]
        for n, (label, s, colour) in enumerate(drawn):
            height = 0.8 / len(drawn)
            at = place - 0.4 + (n + 0.5) * height
            ax.barh(at, s, height=0.9 * height, color=colour)
            ax.text(1.05 * s, at, f"{label.replace('`', '')}  {1e3 * s:.0f} ms", va="center", fontsize=7)
    ax.set_yticks(range(len(stages)), [stage.replace("`", "") for stage in stages], fontsize=8)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(right=60 * max(row.peer_seconds or row.seconds for row in rows))
    ax.set_xlabel(f"seconds, one slice of {found['coils']} coils, {found['size']}×{found['size']}")
    with atomic_path(path) as part:
        figure.savefig(part)
