"""Odd names: scans called so go through info, recon, view and a batch, by the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.faults.campaign.files import LIMIT_S
from tests.faults.campaign.forked import fork, lines, wait

__all__ = ["main", "run"]

PARTS = (
    b"r\xe9sum\xe9", "頭部".encode(), "µ±λ".encode(), b"a b", b"$x$", b"$\\frac", b"\x1b[31m", b"\n", b"\t",
    b"\r", b"\x07", b"=1+1", b"-rf", b"--help", b"..", b".", b"'", b'"', b"`id`", b"$(id)", b";", b"&", b"|",
    b"<b>", b"{x}", b"%s", b"\\", b"*", b"?", b"#", b"~", b"\xff\xfe", b"\xc3\x28", "\u202e".encode(),
    "\u200b".encode(), "🧠".encode(), b"e\xcc\x81", b"x" * 200, b"CON", b"nul", b"[", b"]", b"(", b":", b"@",
    b"!", b",", b"0", b"NaN", b"None",
)  # fmt: skip


def odd_names(count: int, seed: int) -> list[bytes]:
    """Return so many different names without a suffix, of one to four odd parts, that Linux takes."""
    rng = random.Random(seed)
    found: dict[str, bytes] = {}
    parts = iter(PARTS)
    while len(found) < count:
        name = next(parts, b"") or b"".join(rng.choice(PARTS) for _ in range(rng.randint(2, 4)))
        if len(name) <= 235 and not name.startswith(b"."):
            # Names that some file systems take for equal are refused in one batch, and rightly so.
            found[os.fsdecode(name).casefold()] = name
    return list(found.values())


def run(count: int, seed: int, say: Any = print) -> dict[str, Any]:
    """Have a child try so many names; return the counts.  `load_all` comes first."""
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder) / "errors"
        child, pipe = fork(lambda out: _report(out, main(count, seed)), errors)
        answer = list(lines(pipe, LIMIT_S * max(count, 10)))
        if wait(child, LIMIT_S) != 0:
            raise RuntimeError(errors.read_text(errors="replace")[-800:])
    found: dict[str, Any] = json.loads(answer[-1])
    say(f"names: {found}")
    return found


def _report(out: int, found: dict[str, Any]) -> None:
    os.write(out, (json.dumps(found) + "\n").encode())


def main(count: int, seed: int) -> dict[str, Any]:
    """Try the names in this process; return the counts."""
    import logging

    from rawfiles import coil_kspace, letter_f, write_fastmri

    logging.disable(logging.CRITICAL)
    tally: dict[str, Any] = dict.fromkeys(("tried", "failed", "tracebacks", "control_characters"), 0)
    tally["examples"] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scan = write_fastmri(work / "scan", coil_kspace(letter_f((16, 16))[None], coils=1))
        raw = work / "raw"
        raw.mkdir()
        names = odd_names(count, seed)
        for name in names:
            path = raw / f"{os.fsdecode(name)}.h5"
            shutil.copy(scan, path)
            _one(path, work / "out" / os.fsdecode(name), tally)
        before = tally["failed"]
        for _ in range(2):  # the second time all are kept
            _command(["batch", raw, "--out", work / "batch", "--method", "zero_filled", "--no-cache"], tally)
        kept = len(list((work / "batch").glob("*.h5")))
        tally["failed"] += (len(names) - kept) * (tally["failed"] == before)
    return tally


def _one(path: Path, out: Path, tally: dict[str, Any]) -> None:
    tally["tried"] += 1
    before = tally["failed"] + tally["tracebacks"] + tally["control_characters"]
    _command(["info", path], tally)
    _command(["recon", path, "--out", out, "--method", "zero_filled", "--no-cache"], tally)
    page = out.parent / "page.html"
    _command(["view", out, "--out", page, "--no-open", "--overwrite"], tally)
    if before != tally["failed"] + tally["tracebacks"] + tally["control_characters"]:
        tally["examples"] = [*tally["examples"], repr(path.name)][:10]


def _command(arguments: list[Any], tally: dict[str, Any]) -> None:
    from typer.testing import CliRunner

    from mrunfold.cli import main as cli

    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    tally["failed"] += result.exit_code != 0
    odd = result.exception is not None and not isinstance(result.exception, SystemExit)
    tally["tracebacks"] += odd or "Traceback" in result.output
    tally["control_characters"] += any(not c.isprintable() and c != "\n" for c in result.output)
