"""`python -m tests.faults.campaign`: all of it, docs/results/faults.json and the table of the page."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.campaign.table import write_table

PARTS = ("files", "names", "kills", "refusals")
ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests"
FULL_FILES, FULL_KILLS, FULL_NAMES, FULL_REFUSALS = 6650, {0: 40, 1: 5, 2: 5}, 200, 30


def main() -> int:
    """Run the campaign; return 0 where nothing was lost, doubled, hung, wrong, crashed or a traceback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers; 1 is the whole campaign")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "faults.json")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts")
    parser.add_argument("--table", action="store_true", help="write the page's table of --out, run nothing")
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # a process of one thread can be forked
    sys.path[:0] = [str(ROOT), str(TESTS)]
    if not arguments.table:
        _run(arguments.seed, arguments.scale, arguments.only, arguments.out)
    # Only the whole campaign is what the page speaks of.
    whole = arguments.out == parser.get_default("out")
    return write_table(arguments.out, ROOT / "docs" / "reliability.md" if whole else None)


def _run(seed: int, scale: float, only: Sequence[str], out: Path) -> None:
    from tests.faults.campaign import files, kills, names, refusals
    from tests.faults.campaign.forked import load_all
    from tests.faults.campaign.subjects import SUBJECTS

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {text}", file=sys.stderr, flush=True)

    began = time.monotonic()
    load_all()
    each = _scaled(FULL_FILES / len(SUBJECTS), scale)
    work = {
        "files": lambda: files.run(dict.fromkeys(SUBJECTS, each), seed, say),
        "names": lambda: names.run(_scaled(FULL_NAMES, scale), seed, say),
        "kills": lambda: kills.run({w: _scaled(n, scale) for w, n in FULL_KILLS.items()}, seed, say),
        "refusals": lambda: refusals.run(_scaled(FULL_REFUSALS, scale), seed, say),
    }
    found: dict[str, Any] = {"seed": seed, "scale": scale}
    found["system"] = {"python": platform.python_version(), "machine": platform.machine()}
    before = _earlier(out, seed, scale)
    found["minutes"] = dict(before.get("minutes", {}))
    for part, run in work.items():
        begun = time.monotonic()
        found[part] = run() if part in only else before.get(part)
        if part in only:
            found["minutes"][part] = round((time.monotonic() - begun) / 60, 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _earlier(out: Path, seed: int, scale: float) -> dict[str, Any]:
    """Return parts of the same campaign that were run before."""
    if not out.is_file():
        return {}
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found if (found["seed"], found["scale"]) == (seed, scale) else {}


def _scaled(number: float, scale: float) -> int:
    return max(round(scale * number), 1)


if __name__ == "__main__":
    sys.exit(main())
