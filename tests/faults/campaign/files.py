"""Damaged files, each read in a child process that the parent watches, ends when it hangs, and replaces."""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

__all__ = ["LIMIT_S", "main", "run"]

LIMIT_S = 60  # for one file; beyond it counts as hung
CHUNK = 500  # files that one child reads of a kind
COUNTED = ("tried", "read", "refused", "failed", "wrong", "crashed", "hung")
ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests"


def run(counts: dict[str, int], seed: int, say: Any = print) -> dict[str, dict[str, Any]]:
    """Read so many damaged files of each kind; return counts by kind."""
    found = {}
    for kind, count in counts.items():
        found[kind] = _kind(kind, count, seed)
        say(f"{kind}: {found[kind]}")
    return found


def _kind(kind: str, count: int, seed: int) -> dict[str, Any]:
    tally: dict[str, Any] = dict.fromkeys(
        ("tried", "read", "refused", "failed", "wrong", "crashed", "hung"), 0
    )
    tally |= {"peak_memory_mb": 0.0, "longest_s": 0.0, "examples": []}
    first = 0
    while first < count:
        first = _child(kind, first, count, seed, tally)
    return tally


def environment() -> dict[str, str]:
    """Return the environment of children: one thread, this project's modules."""
    path = os.pathsep.join([str(ROOT), str(TESTS)])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


def _child(kind: str, first: int, count: int, seed: int, tally: dict[str, Any]) -> int:
    """Have a child read files from number `first` on, and return the number to go on from."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "tests.faults.campaign.files",
            kind,
            str(first),
            str(count),
            str(seed),
            folder,
        ]
        errors = open(Path(folder) / "stderr", "wb")  # noqa: SIM115 (closed with the child)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment(), cwd=ROOT
        )
        lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
        at, ready = first, False
        while True:
            try:
                line = lines.get(timeout=LIMIT_S if ready else 10 * LIMIT_S)
            except queue.Empty:
                process.kill()
                process.wait()
                _note(tally, "hung", kind, at, "")
                return at + 1
            if not line:
                break
            ready = True
            at = _take(json.loads(line), tally, kind, at)
        process.wait()
        errors.close()
        if process.returncode == 0:
            return at
        last = (Path(folder) / "stderr").read_text(errors="replace")[-300:]
        if not ready:
            raise RuntimeError(f"the child for {kind} did not start: {last}")
        _note(tally, "crashed", kind, at, f"exit {process.returncode}: {last}")
        return at + 1


def _pump(process: subprocess.Popen[bytes], lines: queue.Queue[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(b"")


def _take(report: dict[str, Any], tally: dict[str, Any], kind: str, at: int) -> int:
    tally["peak_memory_mb"] = max(tally["peak_memory_mb"], round(report["peak_mb"], 1))
    if "number" not in report:
        return at
    tally["longest_s"] = max(tally["longest_s"], round(report["seconds"], 2))
    if report["how"] in ("read", "refused"):
        tally["tried"] += 1
        tally[report["how"]] += 1
    else:
        _note(tally, report["how"], kind, report["number"], report["why"])
    return report["number"] + 1


def _note(tally: dict[str, Any], how: str, kind: str, number: int, why: str) -> None:
    tally["tried"] += 1
    tally[how] += 1
    if len(tally["examples"]) < 10:
        tally["examples"].append({"how": how, "number": number, "why": why[-300:]})


def main(arguments: list[str]) -> None:
    """Read damaged files of one kind and report on each, a line of JSON on standard output."""
    kind, first, count, seed, folder = arguments[0], *map(int, arguments[1:4]), Path(arguments[4])
    import logging

    import numpy as np
    import torch

    from tests.faults.campaign.damage import damaged
    from tests.faults.campaign.subjects import SUBJECTS, Wrong, refused

    logging.disable(logging.CRITICAL)
    np.seterr(all="ignore")
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no report
    subject = SUBJECTS[kind]
    (folder / "good").mkdir()
    path = subject.make(folder / "good")
    good = {p: p.read_bytes() for p in (folder / "good").rglob("*") if p.is_file()}
    subject.read(path)  # the good one is read, or nothing that follows means anything
    print(json.dumps({"peak_mb": _peak()}), file=out)
    for number in range(first, min(count, first + CHUNK)):
        for other, content in good.items():
            if not other.is_file() or other.stat().st_size != len(content) or other == path:
                other.write_bytes(content)
        rng = random.Random(f"{seed} {kind} {number}")
        path.write_bytes(damaged(good[path], rng, subject.text))
        began, how, why = time.monotonic(), "read", ""
        try:
            subject.read(path)
        except Wrong as error:
            how, why = "wrong", str(error)
        except BaseException as error:
            how, why = ("refused", "") if refused(error) else ("failed", f"{type(error).__name__}: {error}")
        report = {"number": number, "how": how, "why": why[:300], "seconds": time.monotonic() - began}
        print(json.dumps(report | {"peak_mb": _peak()}), file=out)
    shutil.rmtree(folder / "good", ignore_errors=True)


def _peak() -> float:
    from mrunfold.export.record import peak_memory_mb

    return peak_memory_mb() or 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
