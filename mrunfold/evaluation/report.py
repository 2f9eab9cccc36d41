"""scores.csv, scores.json and report.html."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mrunfold.errors import InputError
from mrunfold.evaluation.compare import Comparison
from mrunfold.evaluation.page import page
from mrunfold.evaluation.run import Run
from mrunfold.evaluation.volumes import COVERAGE_RULE, LPIPS_RULE, RULE
from mrunfold.export import versions
from mrunfold.export.record import to_json
from mrunfold.io.atomic import atomic_path
from mrunfold.io.tables import safe_cell

__all__ = ["FILES", "check_outputs", "scores_csv", "scores_record", "write_outputs"]

FILES = ("scores.csv", "scores.json", "report.html")
FIELDS = (
    "run", "volume", "acquisition", "slices", "height", "width", "nmse", "psnr", "ssim", "lpips",
    "coverage_90", "data_range", "target", "method", "simulated", "problem", "notes", "protocol_digest",
    "recon_sha256", "target_sha256",
)  # fmt: skip


def check_outputs(out: Path, overwrite: bool) -> None:
    """Raise InputError where `out` is a file, or holds a report already and not `overwrite`."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give `out` a folder")
    there = [name for name in FILES if (out / name).exists()]
    if there and not overwrite:
        raise InputError(f"{out} holds {there[0]} already; add `overwrite` or choose another `out`")


def write_outputs(
    out: Path,
    runs: Sequence[Run],
    comparison: Comparison | None = None,
    *,
    draws: int,
    seed: int,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write FILES into the folder `out`, made if need be, and return their names; each is written whole.

    All three are made before the first is written.  InputError as `check_outputs`.
    """
    check_outputs(out, overwrite)
    version = versions(["mrunfold"])["mrunfold"] or "unknown"
    texts = (
        scores_csv(runs),
        to_json(scores_record(runs, comparison, draws=draws, seed=seed)) + "\n",
        page(runs, comparison, draws=draws, seed=seed, version=version),
    )
    out.mkdir(parents=True, exist_ok=True)
    for name, text in zip(FILES, texts, strict=True):
        with atomic_path(out / name) as part:
            part.write_bytes(text.encode("utf-8"))
    return FILES


def scores_csv(runs: Sequence[Run]) -> str:
    """Return a line for each volume of each run; what has no score has its problem in words."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for run in runs:
        for v in run.volumes:
            row = asdict(v) | {"run": run.name, "volume": v.name, "notes": "; ".join(v.notes)}
            row |= dict(zip(("slices", "height", "width"), v.shape or (None,) * 3, strict=True))
            writer.writerow(safe_cell(row[name]) for name in FIELDS)
    return buffer.getvalue()


def scores_record(
    runs: Sequence[Run], comparison: Comparison | None, *, draws: int, seed: int
) -> dict[str, Any]:
    """Return what scores.json holds; no path, host or person is in it."""
    record: dict[str, Any] = {
        "purpose": "research, not for diagnosis",
        "rule": RULE,
        "coverage_rule": COVERAGE_RULE,
        "lpips": LPIPS_RULE if any(run.lpips_features for run in runs) else "not computed",
        "intervals": {"kind": "95 % percentile bootstrap over volumes", "draws": draws, "seed": seed},
        "simulated": any(v.simulated for run in runs for v in run.scored),
        "digest_rule": "sha256 of a volume's type, shape and bytes, not of its whole file",
        "versions": versions(("mrunfold", "numpy", "scikit-image", "h5py")),
        "runs": [_run_record(run, draws, seed) for run in runs],
    }
    if comparison is not None:
        record["comparison"] = asdict(comparison) | {"sign": f"{runs[0].name} − {runs[1].name}"}
    return record


def _run_record(run: Run, draws: int, seed: int) -> dict[str, Any]:
    return {
        "name": run.name,
        "target": run.scored[0].target,
        "volumes": len(run.volumes),
        "scored": len(run.scored),
        "not_scored": {v.name: v.problem for v in run.unscored},
        "protocol_digests": run.protocol_digests,
        "lpips_features_sha256": run.lpips_features,
        "methods": sorted({v.method for v in run.scored if v.method is not None}),
        "summary": {
            group: {metric: None if i is None else asdict(i) for metric, i in metrics.items()}
            for group, metrics in run.summary(draws=draws, seed=seed).items()
        },
        "scores": [asdict(v) for v in run.volumes],
    }
