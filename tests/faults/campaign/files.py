"""Damaged files, each read in a child process that the parent watches, ends when it hangs, and replaces."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.faults.campaign.damage import damaged
from tests.faults.campaign.forked import fork, lines
from tests.faults.campaign.subjects import SUBJECTS, Wrong, refused

__all__ = ["LIMIT_S", "run"]

LIMIT_S = 60  # for one file; beyond it counts as hung
COUNTED = ("tried", "read", "refused", "failed", "wrong", "crashed", "hung")


def run(counts: dict[str, int], seed: int, say: Any = print) -> dict[str, dict[str, Any]]:
    """Read so many damaged files of each kind; return counts by kind.  `load_all` comes first."""
    found = {}
    for kind, count in counts.items():
        tally: dict[str, Any] = dict.fromkeys(COUNTED, 0)
        tally |= {"peak_memory_mb": 0.0, "longest_s": 0.0, "examples": []}
        first = 0
        while first < count:
            first = _child(kind, range(first, count), seed, tally)
        found[kind] = tally
        say(f"{kind}: {tally}")
    return found


def _child(kind: str, numbers: range, seed: int, tally: dict[str, Any]) -> int:
    """Have a child read the files of these numbers, and return the number to go on from."""
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder) / "errors"
        child, pipe = fork(lambda out: _read(kind, numbers, seed, Path(folder) / "good", out), errors)
        at = numbers.start
        try:
            for line in lines(pipe, LIMIT_S):
                at = _take(json.loads(line), tally, at)
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            _note(tally, "hung", at, "")
            return at + 1
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        last = errors.read_text(errors="replace")[-300:]
    if code == 0:
        return at
    if at == numbers.start and code == 98:
        raise RuntimeError(f"the good {kind} is not read: {last}")
    _note(tally, "crashed", at, f"exit {code}: {last}")
    return at + 1


def _take(report: dict[str, Any], tally: dict[str, Any], at: int) -> int:
    tally["peak_memory_mb"] = max(tally["peak_memory_mb"], round(report["peak_mb"], 1))
    if "number" not in report:
        return at
    tally["longest_s"] = max(tally["longest_s"], round(report["seconds"], 2))
    if report["how"] in ("read", "refused"):
        tally["tried"] += 1
        tally[report["how"]] += 1
    else:
        _note(tally, report["how"], report["number"], report["why"])
    return report["number"] + 1


def _note(tally: dict[str, Any], how: str, number: int, why: str) -> None:
    tally["tried"] += 1
    tally[how] += 1
    if len(tally["examples"]) < 10:
        tally["examples"].append({"how": how, "number": number, "why": why[-300:]})


def _read(kind: str, numbers: range, seed: int, folder: Path, out: int) -> None:
    """Read damaged files of one kind and report on each, a line of JSON into `out`."""
    import warnings

    import numpy as np

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    subject = SUBJECTS[kind]
    folder.mkdir()
    path = subject.make(folder)
    good = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    subject.read(path)  # the good one is read, or nothing that follows means anything
    _say(out, {})
    for number in numbers:
        for other, content in good.items():
            if other == path or not other.is_file() or other.stat().st_size != len(content):
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
        _say(out, {"number": number, "how": how, "why": why[:300], "seconds": time.monotonic() - began})


def _say(out: int, report: dict[str, Any]) -> None:
    from mrunfold.export.record import peak_memory_mb

    os.write(out, (json.dumps(report | {"peak_mb": peak_memory_mb() or 0.0}) + "\n").encode())
