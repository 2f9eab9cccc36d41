"""Bad input to `recon`: one clear line, exit code 2, nothing written."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri
from typer.testing import CliRunner

from mrunfold.cli import main

RUN = [sys.executable, "-c", "from mrunfold.cli.main import run; run()"]
FAST = ["--method", "zero_filled", "--no-cache", "--threads", "1"]


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((48, 40))] * 2), coils=3)


@pytest.fixture
def scan(tmp_path, kspace) -> Path:
    return write_fastmri(tmp_path / "scan.h5", kspace)


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def refused(tmp_path: Path, *arguments: str) -> str:
    """Run `recon` into tmp_path/out/result; check code 2, one line and no new file; return the line.

    --quiet: on a slow machine lines of progress come before.
    """
    before = everything(tmp_path)
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "out" / "result")]
    result = CliRunner().invoke(main.app, ["recon", *arguments, *FAST[2:], *out, "--quiet"])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 500
    assert everything(tmp_path) == before
    return result.stderr


def test_the_scan_used_here_is_good(tmp_path, scan):
    result = CliRunner().invoke(main.app, ["recon", str(scan), *FAST, "--out", str(tmp_path / "result")])
    assert result.exit_code == 0, result.output


def test_no_such_file(tmp_path):
    assert "missing.h5" in refused(tmp_path, str(tmp_path / "missing.h5"))


def test_a_directory(tmp_path):
    (tmp_path / "folder").mkdir()
    assert "folder" in refused(tmp_path, str(tmp_path / "folder"))


def test_a_dicom(tmp_path):
    (tmp_path / "image.dcm").write_bytes(bytes(128) + b"DICM" + bytes(500))
    assert "DICOM" in refused(tmp_path, str(tmp_path / "image.dcm"))


@pytest.mark.parametrize("content", [b"", b"hello", bytes(4096)])
def test_no_raw_data_at_all(tmp_path, content):
    (tmp_path / "scan.h5").write_bytes(content)
    assert "scan.h5" in refused(tmp_path, str(tmp_path / "scan.h5"))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_truncated_h5(tmp_path, scan, kept):
    data = scan.read_bytes()
    (tmp_path / "short.h5").write_bytes(data[: int(kept * len(data))])
    assert "short.h5" in refused(tmp_path, str(tmp_path / "short.h5"))


def test_an_h5_without_kspace(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros((3, 4))
    assert "kspace" in refused(tmp_path, str(tmp_path / "other.h5"))


@pytest.mark.parametrize("value", [np.nan, np.inf, complex(0, np.nan)])
def test_nan_in_kspace(tmp_path, kspace, value):
    broken = kspace.copy()
    broken[1, 2, 20, 20] = value
    path = write_fastmri(tmp_path / "nan.h5", broken, rss=False)
    message = refused(tmp_path, str(path))
    assert "NaN" in message or "finite" in message
    assert "slice 1" in message


def test_a_mask_of_the_wrong_width(tmp_path, kspace):
    path = write_fastmri(tmp_path / "scan.h5", kspace, mask=np.ones(43))
    message = refused(tmp_path, str(path))
    assert "43" in message
    assert "40" in message


@pytest.mark.parametrize("kind", ["random", "poisson", "equispaced"])
@pytest.mark.parametrize("accel", ["100000", "0", "-3", "nan"])
def test_an_acceleration_that_leaves_no_samples(tmp_path, scan, kind, accel):
    refused(tmp_path, str(scan), "--mask", kind, "--accel", accel)


def test_an_unknown_method(tmp_path, scan):
    assert "did you mean l1_wavelet?" in refused(tmp_path, str(scan), "--method", "l1_wavelets")


def test_an_unknown_mask(tmp_path, scan):
    assert "did you mean poisson?" in refused(tmp_path, str(scan), "--mask", "poison", "--accel", "4")


def test_an_unknown_parameter(tmp_path, scan):
    assert "lamda" in refused(tmp_path, str(scan), "--method", "l1_wavelet", "--param", "lambda=1")


def test_an_unknown_device(tmp_path, scan):
    assert "--device cpu" in refused(tmp_path, str(scan), "--device", "gpu")


def test_slices_that_are_not_there(tmp_path, scan):
    assert "2 slices" in refused(tmp_path, str(scan), "--slices", "5")


def test_a_result_that_is_there_already(tmp_path, scan):
    arguments = ["recon", str(scan), *FAST, "--out", str(tmp_path / "result")]
    assert CliRunner().invoke(main.app, arguments).exit_code == 0
    before = (tmp_path / "result" / "record.json").read_bytes()
    assert "--overwrite" in refused(tmp_path, *arguments[1:])
    assert (tmp_path / "result" / "record.json").read_bytes() == before
    assert CliRunner().invoke(main.app, [*arguments, "--overwrite"]).exit_code == 0
    assert (tmp_path / "result" / "record.json").read_bytes() != before


def test_external_links(tmp_path, scan):
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink(str(scan), "kspace")
        with h5py.File(scan) as real:
            file["ismrmrd_header"] = real["ismrmrd_header"][()]
    assert "external" in refused(tmp_path, str(tmp_path / "link.h5")).lower()


def test_78_tebibytes(tmp_path, scan):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("kspace", (1000, 1000, 3300, 3300), np.complex64, chunks=(1, 1, 33, 33))
        with h5py.File(scan) as real:
            file["ismrmrd_header"] = real["ismrmrd_header"][()]
    assert (tmp_path / "huge.h5").stat().st_size < 100_000
    assert "huge.h5" in refused(tmp_path, str(tmp_path / "huge.h5"))


def test_a_folder_below_a_file(tmp_path, scan):
    message = refused(tmp_path, str(scan), "--out", str(scan / "result"))
    assert "not a folder" in message
    assert "scan.h5/result:" in message
    assert ".part" not in message


def test_an_unwritable_folder(tmp_path, scan):
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    mounted = False
    if os.access(folder, os.W_OK):  # the superuser may write anywhere but to a read-only file system
        command = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("every folder is writable here and nothing can be mounted")
        mounted = True
    try:
        message = refused(tmp_path, str(scan), "--out", str(folder / "result"))
        assert "read-only" in message or "permission" in message
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("at", ["reconstruction", "target"])
def test_a_disk_that_fills_up_as_slices_are_written(tmp_path, scan, monkeypatch, at):
    from mrunfold.pipeline.volume import VolumeWriter

    put = VolumeWriter.put

    def full(self, name, place, image):
        if name == at and place == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(self, name, place, image)

    monkeypatch.setattr(VolumeWriter, "put", full)
    assert "no space left" in refused(tmp_path, str(scan), "--mask", "random", "--accel", "2")


def run_in(folder: Path, *arguments: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def lower() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [*RUN, "recon", *arguments, *FAST, "--quiet"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, preexec_fn=lower, timeout=200, check=False
    )


@pytest.mark.parametrize("limit", [20_000])
def test_a_real_limit_on_file_size(tmp_path, scan, limit):
    (tmp_path / "work").mkdir()
    done = run_in(tmp_path / "work", str(scan), limit=limit)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert everything(tmp_path / "work") == []


@pytest.mark.parametrize("size", ["8k", "56k"])
def test_a_real_full_disk(tmp_path, scan, size):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here; the limit on file size and the simulated error cover it")
    try:
        done = run_in(tmp_path, str(scan), "--out", str(folder / "result"))
        assert done.returncode == 2, done.stderr
        assert "no space left on the disk" in done.stderr
        assert done.stderr.count("\n") == 1
        assert everything(folder) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(tmp_path, scan, sent, code):
    folder = tmp_path / "work"
    folder.mkdir()
    endless = ["--method", "l1_wavelet", "--param", "max_iter=100000000", "--no-cache", "--threads", "1"]
    process = subprocess.Popen(
        [*RUN, "recon", str(scan), *endless],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A suite that a shell runs in the background inherits a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while not any(p.name == "recon.h5" for p in folder.rglob("*")) and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    time.sleep(0.5)  # well into the endless method
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == code, stderr
    if sent == signal.SIGINT:
        assert stderr == "interrupted: nothing was written\n"
    assert stdout == ""
    assert everything(folder) == []
