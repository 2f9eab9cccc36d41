"""The page "Bring your own": its files have at most 30 lines, and its commands run as printed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "bring-your-own.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", TEXT, re.M | re.S))
COMMANDS = [c for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.M | re.S) for c in block.splitlines()]
MRUNFOLD = "from mrunfold.cli.main import run; import sys; sys.argv[0] = 'mrunfold'; run()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of the page and the two scans that it speaks of."""
    folder = tmp_path_factory.mktemp("own")
    for name, source in FILES.items():
        (folder / name).write_text(source, encoding="utf-8")
    kspace = coil_kspace(letter_f((64, 48))[None], 4).astype(np.complex64)
    write_fastmri(folder / "scan.h5", kspace)
    np.savez(folder / "scan.npz", kspace=kspace)
    return folder


def test_there_are_five_files_of_at_most_thirty_lines():
    assert sorted(FILES) == ["mymask.py", "mymethod.py", "myoperator.py", "myprior.py", "myreader.py"]
    for name, source in FILES.items():
        assert len(source.splitlines()) <= 30, name


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(c.split()[:4]) for c in COMMANDS])
def test_the_command_runs_as_printed(folder, command):
    program, *arguments = shlex.split(command)
    how = {"mrunfold": [sys.executable, "-c", MRUNFOLD], "python": [sys.executable]}[program]
    environment = {**os.environ, "MRUNFOLD_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [*how, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    if "recon" in arguments:
        out = folder / arguments[arguments.index("--out") + 1]
        assert json.loads((out / "record.json").read_text(encoding="utf-8"))["metrics"]["psnr"] > 15
