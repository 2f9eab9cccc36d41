"""A batch that is killed or interrupted goes on, and ends as an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri

from mrunfold.batch import MANIFEST, run_batch
from mrunfold.pipeline import ReconSettings

SETTINGS = ReconSettings(method="zero_filled", cache=False, threads=1, seed="name", mask="random", accel=2)
VOLUMES = 6
COMMAND = [sys.executable, "-c", "from mrunfold.cli.main import run; run()", "batch"]
# Waits for a line, so that the clock of a kill starts with the work and not with the imports.
RUN = """
import sys
from mrunfold.batch import run_batch
from mrunfold.pipeline import ReconSettings
settings = ReconSettings(method="zero_filled", cache=False, threads=1, seed="name", mask="random", accel=2)
print("ready", flush=True)
sys.stdin.readline()
run_batch([sys.argv[1]], sys.argv[2], settings)
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    kspace = coil_kspace(np.stack([letter_f((48, 40))] * 2), coils=3)
    for number in range(VOLUMES):
        write_fastmri(folder / f"file{number}.h5", kspace * (1 + number))
    return folder


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory) -> tuple[dict[str, bytes], float]:
    """The outputs by name, and how long they took."""
    out = tmp_path_factory.mktemp("clean") / "out"
    began = time.monotonic()
    run_batch([raw], out, SETTINGS)
    return outputs(out), time.monotonic() - began


def outputs(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("[!.]*.h5"))}


def kill_at(seconds: float, raw: Path, out: Path) -> bool:
    """Start a batch and kill it so long after its work began; return whether it was killed in the middle."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(raw), str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    process.stdin.write(b"\n")
    process.stdin.flush()
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def kills(count: int, raw: Path, undisturbed: tuple[dict[str, bytes], float], out: Path) -> None:
    expected, span = undisturbed
    rng = random.Random(count)
    killed = 0
    for _ in range(count):
        killed += kill_at(rng.uniform(0.0, span / 2), raw, out)
        # At any moment a file under its name is whole.
        assert outputs(out).items() <= expected.items()
    assert killed, "no run was killed while it worked"
    end = run_batch([raw], out, SETTINGS)
    assert len(end.done) + len(end.kept) == VOLUMES
    assert outputs(out) == expected
    assert not [p.name for p in out.iterdir() if p.name.startswith(".part")]
    records = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    assert {r["name"] for r in records if r.get("status") == "ok"} == {f"file{n}" for n in range(VOLUMES)}


def test_five_kills_lose_nothing(tmp_path, raw, undisturbed):
    kills(5, raw, undisturbed, tmp_path / "out")


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path, raw, undisturbed):
    kills(20, raw, undisturbed, tmp_path / "out")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_says_how_to_go_on(tmp_path, raw, sent, code):
    out = tmp_path / "out"
    arguments = ["--method", "l1_wavelet", "--param", "max_iter=100000000", "--no-cache", "--threads", "1"]
    process = subprocess.Popen(
        [*COMMAND, str(raw), "--out", str(out), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job is deaf to SIGINT, and so are its children, unless they are told to hear.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while not list(out.glob(".part-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # well into the endless method
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == code, stderr
    assert stderr == "interrupted: 0 of 6 volumes are done and kept; the same command goes on from there\n"
    assert not [p.name for p in out.iterdir() if p.suffix == ".h5"]
    assert len((out / MANIFEST).read_text().splitlines()) == 1
