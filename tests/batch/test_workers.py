"""Batches on Dask workers: the same files for any number of them, whatever dies on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri

from mrunfold.batch import MANIFEST, run_batch
from mrunfold.batch import cluster as cluster_module
from mrunfold.batch.cluster import open_fleet
from mrunfold.errors import InputError
from mrunfold.pipeline import ReconSettings

SETTINGS = ReconSettings(
    method="l1_wavelet",
    parameters={"max_iter": 3},
    cache=False,
    threads=1,
    seed="name",
    mask="random",
    accel=2,
)
# A second or so a volume, so that there is a middle to be killed in.
LONG = {"max_iter": 120}
VOLUMES = 6
COMMAND = [sys.executable, "-c", "from mrunfold.cli.main import run; run()", "batch"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    kspace = coil_kspace(np.stack([letter_f((48, 40))] * 2), coils=3)
    for number in range(VOLUMES):
        write_fastmri(folder / f"file{number}.h5", kspace * (1 + number))
    return folder


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory) -> dict[str, bytes]:
    """Outputs by name of a batch in this process."""
    out = tmp_path_factory.mktemp("clean") / "out"
    run_batch([raw], out, SETTINGS)
    return outputs(out)


def outputs(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("[!.]*.h5"))}


def done(out: Path) -> Counter:
    """How often the manifest says of each volume that it was done."""
    records = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    return Counter(r["name"] for r in records if r.get("status") == "ok")


def each_once() -> Counter:
    return Counter(f"file{n}" for n in range(VOLUMES))


# --- without workers ---


def test_without_dask_there_is_one_clear_error(tmp_path, raw, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for how in ({"workers": 2}, {"scheduler": "tcp://127.0.0.1:1"}):
        with pytest.raises(InputError, match=r"pip install 'mrunfold\[cluster\]'"):
            run_batch([raw], tmp_path / "out", SETTINGS, **how)
    assert not (tmp_path / "out").exists()
    assert len(run_batch([raw], tmp_path / "out", SETTINGS).done) == VOLUMES


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "not both"),
        ({"workers": 0}, "from 1 to 256, got 0"),
        ({"workers": 200, "threads": 50}, "are more than the"),
    ],
)
def test_wrong_numbers_of_workers(how, says):
    pytest.importorskip("distributed")
    arguments = {"workers": None, "scheduler": None, "threads": None, **how}
    with pytest.raises(InputError, match=says), open_fleet(**arguments):
        pass


# --- with workers ---


def test_two_workers_write_the_same_files(tmp_path, raw, undisturbed):
    pytest.importorskip("distributed")
    out = tmp_path / "out"
    (out).mkdir()
    (out / "file3.h5").write_bytes(undisturbed["file3.h5"])
    (tmp_path / "bad.h5").write_bytes(b"")
    seen = []
    found = run_batch(
        [raw, tmp_path / "bad.h5"], out, SETTINGS, workers=2, progress=lambda *now: seen.append(now)
    )
    assert outputs(out) == undisturbed
    assert done(out) == each_once()
    assert set(found.failed) == {"bad"}
    assert sorted(found.done) == sorted(each_once())
    assert [now[1:] for now in seen] == [(VOLUMES + 1, 2, 2)] * VOLUMES
    # What was done by workers is known without them.
    assert len(run_batch([raw], out, SETTINGS).kept) == VOLUMES


@pytest.mark.slow
def test_one_worker_writes_the_same_files(tmp_path, raw, undisturbed):
    run_batch([raw], tmp_path / "out", SETTINGS, workers=1)
    assert outputs(tmp_path / "out") == undisturbed


@pytest.fixture
def cluster():
    """A cluster of two workers that is not the batch's own; yields (address, pids of workers by address)."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield local.scheduler_address, client.run(os.getpid)


@pytest.mark.slow
def test_a_killed_workers_volume_is_done_elsewhere(tmp_path, raw, cluster):
    address, pids = cluster
    long = ReconSettings(**{**vars(SETTINGS), "parameters": LONG})
    run_batch([raw], tmp_path / "clean", long)
    out, left = tmp_path / "out", []
    victim = next(iter(pids.values()))

    def kill() -> None:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and len(left) < 2:
            left[:] = [p.name for p in out.glob(".part-*")]  # both workers have a volume in hand
        os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    found = run_batch([raw], out, long, scheduler=address)
    thread.join()
    assert len(left) == 2, "no worker was killed in the middle"
    assert not found.failed
    assert outputs(out) == outputs(tmp_path / "clean")
    assert done(out) == each_once()
    assert not list(out.glob(".part-*"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to find the worker of a volume")
def test_a_stopped_workers_volume_is_done_elsewhere(tmp_path, raw, monkeypatch, caplog):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster_module, "SILENT", 6)
    long = ReconSettings(**{**vars(SETTINGS), "parameters": LONG})
    run_batch([raw], tmp_path / "clean", long)
    stopped: list[int] = []
    files = list(raw.glob("*.h5"))

    def stop() -> None:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and not stopped:
            for pid in (int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit()):
                if pid != os.getpid() and any(_holds(Path(f"/proc/{pid}/fd"), str(p)) for p in files):
                    os.kill(pid, signal.SIGSTOP)  # it never goes on
                    stopped.append(pid)
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=stop)
    thread.start()
    found = run_batch([raw], tmp_path / "out", long, workers=2)
    thread.join()
    assert stopped, "no worker was stopped with a volume in hand"
    assert not found.failed
    assert outputs(tmp_path / "out") == outputs(tmp_path / "clean")
    assert done(tmp_path / "out") == each_once()
    assert not list((tmp_path / "out").glob(".part-*"))
    assert not Path(f"/proc/{stopped[0]}").exists(), "the stopped worker is there still"
    said = [r.getMessage() for r in caplog.records if "did not answer" in r.getMessage()]
    assert len(said) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to find the worker of a volume")
def test_a_volume_that_kills_its_workers_is_given_up(tmp_path, raw):
    pytest.importorskip("distributed")
    long = ReconSettings(**{**vars(SETTINGS), "parameters": LONG})
    run_batch([raw], tmp_path / "clean", long)
    poisoned = tmp_path / "raw"
    poisoned.mkdir()
    for path in raw.iterdir():
        os.link(path, poisoned / path.name)
    trap = poisoned / "trap.h5"
    shutil.copyfile(poisoned / "file0.h5", trap)  # a worker that reads it is killed
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.02):
            for pid in (int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit()):
                if pid != os.getpid() and _holds(Path(f"/proc/{pid}/fd"), str(trap)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = run_batch([poisoned], tmp_path / "out", long, workers=2)
    finally:
        stop.set()
        thread.join()
    assert "its worker died 4 times" in found.failed["trap"]
    assert outputs(tmp_path / "out") == outputs(tmp_path / "clean")
    assert done(tmp_path / "out") == each_once()


def _holds(fds: Path, name: str) -> bool:
    try:
        return any(os.readlink(fd) == name for fd in fds.iterdir())
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_an_end_of_the_coordinator_leaves_a_resumable_batch(tmp_path, raw, sent, code):
    arguments = ["--method", "l1_wavelet", "--param", f"max_iter={LONG['max_iter']}", "--no-cache", "--mask"]
    arguments += ["random", "--accel", "2"]
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, str(raw), "--out", str(out), *arguments, "--workers", "2"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not outputs(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # as a terminal does
    else:
        process.send_signal(sent)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == code, stderr
    if code > 0:
        said = [line for line in stderr.splitlines() if not re.match(r" *volume \d+ of", line)]  # progress
        assert len(said) == 1, stderr
        assert said[0].startswith("interrupted: ")
    deadline = time.monotonic() + 60
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _members(process.pid), "workers outlive their batch"
    assert len(outputs(out)) < VOLUMES
    long = ReconSettings(**{**vars(SETTINGS), "parameters": LONG})
    run_batch([raw], tmp_path / "clean", long)
    end = run_batch([raw], out, long)
    assert len(end.done) + len(end.kept) == VOLUMES
    assert outputs(out) == outputs(tmp_path / "clean")
    assert not list(out.glob(".part-*"))


def _members(session: int) -> list[str]:
    """Return commands of living processes of a session."""
    listed = subprocess.run(
        ["ps", "-eo", "sess,stat,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [row[2] for row in rows if row[0] == str(session) and not row[1].startswith("Z")]


@pytest.mark.slow
def test_a_scheduler_that_is_not_there(tmp_path, raw):
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        run_batch([raw], tmp_path / "out", SETTINGS, scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_workers_serve_no_pages():
    with open_fleet(2, None, None) as fleet:
        # What they listen to speaks TLS: a request for a page gets no answer.
        ports = {int(address.rsplit(":", 1)[1]) for address in fleet.client.run(os.getpid)}
        ports.add(int(fleet.client.scheduler.address.rsplit(":", 1)[1]))
        listening = fleet.client.run(_listening)
        mine = _listening()
        assert all(len(found) == 1 for found in listening.values()), listening
        assert mine & ports
        for port in ports | mine:
            with pytest.raises((urllib.error.URLError, ConnectionError, TimeoutError)):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5)


def _listening() -> set[int]:
    """Return the TCP ports on which this process listens."""
    inodes = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            inodes.add(os.readlink(f"/proc/self/fd/{name}"))
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in inodes:
                ports.add(int(cells[1].rsplit(":", 1)[1], 16))
    return ports


def test_keys_for_a_scheduler_are_asked_for_in_one_line(tmp_path, raw):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"`tls` is for a `scheduler` tls://"):
        run_batch([raw], tmp_path / "out", SETTINGS, scheduler="tcp://127.0.0.1:1", tls=tmp_path)
    with pytest.raises(InputError, match=r"has no ca\.pem"):
        run_batch([raw], tmp_path / "out", SETTINGS, scheduler="tls://127.0.0.1:1", tls=tmp_path)


@pytest.mark.slow
def test_a_killed_scheduler_is_one_line(tmp_path, raw):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, module = f"tcp://127.0.0.1:{port}", [sys.executable, "-m"]
    dask = [*module, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [*module, "distributed.cli.dask_worker", address, "--nthreads", "1"]
    out = tmp_path / "out"
    arguments = ["--method", "l1_wavelet", "--param", "max_iter=100000", "--no-cache", "--threads", "1"]
    started = [
        subprocess.Popen([*command, "--no-dashboard"], stderr=subprocess.DEVNULL)
        for command in (dask, worker)
    ]
    process = subprocess.Popen(
        [*COMMAND, str(raw), "--out", str(out), *arguments, "--scheduler", address],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not list(out.glob(".part-*")) and process.poll() is None:
            time.sleep(0.05)
        started[0].kill()
        _, stderr = process.communicate(timeout=200)
    finally:
        for one in (*started, process):
            one.kill()
            one.wait()
    assert process.returncode == 2
    assert stderr.startswith("error: the Dask scheduler went away"), stderr
    assert stderr.count("\n") == 1
