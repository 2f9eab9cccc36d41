"""Damaged outputs given to `export`: one clear line or an export that is whole; no crash, no half folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from exported import make_header, random_volumes, write_result

# In a process of its own: a crash of the HDF5 library would otherwise end the whole test run.
PROGRAM = """
import random, sys, warnings
from pathlib import Path
from mrunfold.errors import InputError
from mrunfold.export.manifest import check_sums
from mrunfold.export.run import EXPORTED, ExportRequest, export_result
from mrunfold.io.folder import result_folder

folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
request = ExportRequest(dicom=True, nifti=True, bids=True, suffix="T1w", extras=("samples",))
path = folder / "recon.h5"
original = path.read_bytes()
rng = random.Random(seed)
refused = written = 0
for trial in range(trials):
    data = bytearray(original)
    if trial % 3 == 0:
        data = data[: rng.randrange(len(data))]
    else:
        # Also where the structure is: the beginning of the file.
        end = len(data) if trial % 3 == 1 else min(len(data), 6000)
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    final = folder.parent / f"export_{trial}"
    try:
        with result_folder(final, ours=EXPORTED) as part:
            export_result(folder, part, request)
        check_sums(final)
        written += 1
    except InputError as error:
        assert "\\n" not in str(error) and len(str(error)) < 500, str(error)
        assert not final.exists()
        refused += 1
    except BaseException:
        print("trial", trial, file=sys.stderr)
        raise
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")]
print(refused, written)
"""


def fuzz(folder, trials: int, seed: int = 0) -> tuple[int, int]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(trials), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    refused, written = map(int, done.stdout.split())
    return refused, written


def result(tmp_path, record: bool):
    folder = tmp_path / "results" / "scan"
    folder.mkdir(parents=True)
    header = make_header((12, 9), 2)
    path = write_result(folder / "recon.h5", header, random_volumes(header, samples=1))
    if record:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / "record.json").write_text(json.dumps({"recon_sha256": digest}))
    return folder


def test_with_its_run_record_every_damage_is_refused(tmp_path):
    assert fuzz(result(tmp_path, record=True), 30) == (30, 0)


def test_without_one_damage_is_refused_or_exported_whole(tmp_path):
    refused, written = fuzz(result(tmp_path, record=False), 9)
    assert refused > 1
    assert written > 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_damaged_results(tmp_path):
    refused, written = fuzz(result(tmp_path, record=False), 1000, seed=1)
    assert refused + written == 1000
    assert refused > 200
    assert written > 50
