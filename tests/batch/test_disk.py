"""A file system that is really full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri
from typer.testing import CliRunner

from mrunfold.batch import MANIFEST, run_batch
from mrunfold.cli import main
from mrunfold.pipeline import ReconSettings

SETTINGS = ReconSettings(method="zero_filled", cache=False, threads=1, seed="name")
ARGUMENTS = ["--method", "zero_filled", "--no-cache", "--threads", "1"]
VOLUMES, SIDE = 4, 128


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 320 kB: room for two outputs and a half."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=320k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing(tmp_path, small_disk):
    raw = tmp_path / "raw"
    raw.mkdir()
    kspace = coil_kspace(np.stack([letter_f((SIDE, SIDE))] * 2), coils=2)
    for number in range(VOLUMES):
        write_fastmri(raw / f"file{number}.h5", kspace * (1 + number), crop=(SIDE, SIDE))
    run_batch([raw], tmp_path / "clean", SETTINGS)
    clean = {p.name: p.read_bytes() for p in (tmp_path / "clean").glob("[!.]*.h5")}
    result = CliRunner().invoke(main.app, ["batch", str(raw), "--out", str(small_disk), *ARGUMENTS])
    assert result.exit_code == 2, result.output
    assert "no space left" in result.stderr
    there = {p.name: p.read_bytes() for p in small_disk.glob("*.h5")}
    assert there.items() < clean.items(), "whole files, fewer than all"
    assert 1 <= len(there) < VOLUMES
    assert not list(small_disk.glob(".part-*"))
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    again = run_batch([raw], small_disk, SETTINGS)
    assert len(again.done) + len(again.kept) == VOLUMES
    assert not again.failed
    assert {p.name: p.read_bytes() for p in small_disk.glob("[!.]*.h5")} == clean
    assert (small_disk / MANIFEST).read_text().count('"status": "ok"') == VOLUMES
