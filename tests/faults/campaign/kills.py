"""SIGKILL of a batch, alone and with workers, at moments when volumes are being written."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.campaign.files import LIMIT_S
from tests.faults.campaign.forked import fork, wait

__all__ = ["VOLUMES", "make_raw", "run"]

VOLUMES = 6


def run(counts: dict[int, int], seed: int, say: Any = print) -> dict[str, dict[str, Any]]:
    """Kill batches with so many workers so often each; return counts by the number of workers."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        raw, clean = Path(folder) / "raw", Path(folder) / "clean"
        make_raw(raw)
        if _ended(raw, clean) != 0:
            raise RuntimeError((raw.parent / "errors").read_text(errors="replace")[-500:])
        for workers, count in counts.items():
            name = f"{workers} workers"
            found[name] = _kills(raw, Path(folder) / f"out{workers}", workers, count, outputs(clean), seed)
            say(f"kills, {name}: {found[name]}")
    return found


def make_raw(raw: Path) -> None:
    """Write the scans of a batch into a new folder."""
    import numpy as np
    from rawfiles import coil_kspace, letter_f, write_fastmri

    raw.mkdir()
    kspace = coil_kspace(np.stack([letter_f((48, 40))] * 2), coils=3)
    for number in range(VOLUMES):
        write_fastmri(raw / f"file{number}.h5", kspace * (1 + number))


def _batch(raw: Path, out: Path, workers: int, pipe: int) -> None:
    from mrunfold.batch import run_batch
    from mrunfold.pipeline import ReconSettings

    settings = ReconSettings(
        method="l1_wavelet", parameters={"max_iter": 20}, cache=False, threads=1, seed="name", mask="random",
        accel=2, target="combined",
    )  # fmt: skip
    run_batch([raw], out, settings, workers=workers or None)


def _ended(raw: Path, out: Path) -> int | None:
    """Run a batch to its end; its exit code, None where it hangs."""
    child, pipe = fork(partial(_batch, raw, out, 0), raw.parent / "errors")
    os.close(pipe)
    return wait(child, 10 * LIMIT_S)


def outputs(out: Path) -> dict[str, bytes]:
    """Return the volumes of a batch by name."""
    return {p.name: p.read_bytes() for p in sorted(out.glob("[!.]*.h5"))}


def _kills(
    raw: Path, out: Path, workers: int, count: int, expected: dict[str, bytes], seed: int
) -> dict[str, Any]:
    """Kill so often; a batch that is at its end begins anew in an empty folder."""
    rng = random.Random(f"{seed} {workers}")
    words = ("kills", "while_writing", "lost", "doubled", "hung", "half_files")
    tally: dict[str, Any] = dict.fromkeys(words, 0)
    tries = 0
    while tally["kills"] < count and tries < 3 * count + 5:
        tries += 1
        before = set(out.glob(".part-*"))  # of processes that were killed before
        child, pipe = fork(partial(_batch, raw, out, workers), raw.parent / "errors")
        os.close(pipe)
        alive = _waits_for_part(child, out, before)
        time.sleep(rng.choice([0, 0, 0.01, 0.1]) * rng.random())
        writing = bool(set(out.glob(".part-*")) - before)
        _kill_all(child)
        tally["kills"] += alive
        tally["while_writing"] += alive and writing
        found = outputs(out)
        # What lies under its name is whole, and the manifest promises nothing that is not there.
        tally["half_files"] += sum(expected.get(name) != content for name, content in found.items())
        tally["lost"] += sum(f"{name}.h5" not in found for name in _listed(out))
        if len(found) == VOLUMES:
            _finish(raw, out, expected, tally)
    _finish(raw, out, expected, tally)
    return tally


def _waits_for_part(child: int, out: Path, before: set[Path]) -> bool:
    """Return when a new volume is being written: whether the batch is alive then."""
    deadline = time.monotonic() + 5 * LIMIT_S
    while time.monotonic() < deadline:
        if set(out.glob(".part-*")) - before:
            return True
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.002)
    return True


def _kill_all(child: int) -> None:
    """Kill the command; workers are in its process group and die with it, as on a machine that goes down."""
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _listed(out: Path) -> Counter[str]:
    if not (out / "manifest.jsonl").exists():
        return Counter()
    whole = (out / "manifest.jsonl").read_bytes().split(b"\n")[:-1]
    records = [json.loads(line) for line in whole if line.strip(b"\0")]
    return Counter(r["name"] for r in records if r.get("status") == "ok")


def _finish(raw: Path, out: Path, expected: dict[str, bytes], tally: dict[str, Any]) -> None:
    """Have the batch come to its end, count what is not as if undisturbed, and empty the folder."""
    tally["hung"] += _ended(raw, out) is None
    found, listed = outputs(out), _listed(out)
    tally["lost"] += sum(found.get(name) != content for name, content in expected.items())
    tally["doubled"] += sum(count > 1 for count in listed.values()) + len(set(found) - set(expected))
    tally["half_files"] += sum(1 for _ in out.glob(".part-*"))
    for path in out.iterdir():
        path.unlink()
