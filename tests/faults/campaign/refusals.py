"""rename, fsync and write that the system refuses, one call at a time, injected by strace."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.campaign.files import LIMIT_S
from tests.faults.campaign.forked import fork, wait
from tests.faults.campaign.kills import VOLUMES, make_raw, outputs

__all__ = ["run"]

CALLS = ("rename", "fsync", "write")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES")
FAST = ["--method", "zero_filled", "--no-cache", "--threads", "1", "--seed", "name"]
WORDS = ("tried", "lost", "doubled", "tracebacks", "crashed", "left_over", "hung")


def run(count: int, seed: int, say: Any = print) -> dict[str, Any]:
    """Inject so many refusals into `batch` and `recon`; return the counts, all None without strace."""
    if shutil.which("strace") is None:
        say("refusals: not tried, there is no strace here")
        return dict.fromkeys(WORDS)
    tally: dict[str, Any] = {**dict.fromkeys(WORDS, 0), "examples": []}
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_raw(work / "raw")
        commands = {
            "batch": ["batch", str(work / "raw"), "--out", str(work / "out"), *FAST],
            "recon": ["recon", str(work / "raw" / "file0.h5"), "--out", str(work / "out"), *FAST],
        }
        clean = {name: _clean(work, command) for name, command in commands.items()}
        for number in range(count):
            name = "recon" if number % 3 == 2 else "batch"
            expected, places = clean[name]
            call = CALLS[number // 3 % len(CALLS)]
            call = call if places[call] else "write"
            fault = call, rng.choice(places[call]), rng.choice(ERRORS)
            _one(work, commands[name], fault, expected, tally)
    say(f"refusals: {tally}")
    return tally


def _command(arguments: list[str], pipe: int) -> None:
    from mrunfold.cli.main import app

    app(arguments, prog_name="mrunfold")


def _run(work: Path, arguments: list[str], options: list[str] | None = None) -> tuple[int | None, str]:
    """Run a command in a child, traced with these options; return its exit code and what it said."""
    child, pipe = fork(partial(_command, arguments), work / "errors", stopped=options is not None)
    os.close(pipe)
    tracer = None
    if options is not None:
        os.waitpid(child, os.WUNTRACED)
        trace = ["strace", "-f", "-y", "-o", str(work / "trace"), *options, "-p", str(child)]
        tracer = subprocess.Popen(trace, stderr=subprocess.DEVNULL)
        _wait_until_traced(child)
        os.kill(child, signal.SIGCONT)
    code = wait(child, 5 * LIMIT_S)
    if tracer is not None:
        tracer.wait(LIMIT_S)
    return code, (work / "errors").read_text(errors="replace")


def _wait_until_traced(child: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        status = Path(f"/proc/{child}/status").read_text()
        if not re.search(r"^TracerPid:\s+0$", status, re.MULTILINE):
            return
        time.sleep(0.01)
    raise RuntimeError("strace could not attach")


def _clean(work: Path, arguments: list[str]) -> tuple[dict[str, bytes], dict[str, list[int]]]:
    """Return an undisturbed run's volumes, and which of the main thread's calls are on the output."""
    code, said = _run(work, arguments, ["-e", f"trace={','.join(CALLS)}"])
    if code != 0:
        raise RuntimeError(said[-500:])
    found = [line.split(maxsplit=1) for line in (work / "trace").read_text(errors="replace").splitlines()]
    places: dict[str, list[int]] = {}
    for call in CALLS:
        mine = [text for pid, text in found if pid == found[0][0] and re.match(rf"{call}\(", text)]
        places[call] = [n for n, text in enumerate(mine, start=1) if str(work) in text]
    expected = outputs(work / "out")
    shutil.rmtree(work / "out")
    return expected, places


def _one(
    work: Path,
    arguments: list[str],
    fault: tuple[str, int, str],
    expected: dict[str, bytes],
    tally: dict[str, Any],
) -> None:
    call, place, error = fault
    before = [tally[word] for word in WORDS[1:]]
    code, said = _run(work, arguments, ["-e", f"inject={call}:error={error}:when={place}"])
    tally["tried"] += 1
    tally["hung"] += code is None
    tally["tracebacks"] += "Traceback" in said or "a bug in mrunfold" in said
    tally["crashed"] += code not in (None, 0, 1, 2)
    volumes = arguments[0] == "batch"
    if volumes:  # of recon, a folder appears whole or not at all
        tally["lost"] += sum(expected.get(name) != content for name, content in outputs(work / "out").items())
    again, _ = _run(work, [*arguments, "--retry-failed" if volumes else "--overwrite"])
    tally["lost"] += again != 0 or (volumes and outputs(work / "out") != expected)
    tally["lost"] += not volumes and not (work / "out" / "recon.h5").is_file()
    tally["doubled"] += len(outputs(work / "out")) > VOLUMES
    tally["left_over"] += len([*work.glob(".*.part"), *(work / "out").glob(".part-*")])
    shutil.rmtree(work / "out", ignore_errors=True)
    if before != [tally[word] for word in WORDS[1:]]:
        example = f"{arguments[0]} {call} {place} {error}: exit {code}, {said[-200:]}"
        tally["examples"] = [*tally["examples"], example.replace(str(work), "")][:10]
