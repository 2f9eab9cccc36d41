"""Damaged files are refused or read, whatever is damaged: no other exception, no crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_cfl, write_fastmri, write_mrd
from twixfiles import protocol, readouts_of, write_twix, write_vb

# In a process of its own: a crash of the HDF5 library would otherwise end the whole test run.
PROGRAM = """
import random, sys
import numpy as np
from pathlib import Path
from mrunfold.errors import InputError
from mrunfold.io import data_crimes, open_scan, remove_oversampling

source, damaged, target, trials, seed = *map(Path, sys.argv[1:4]), int(sys.argv[4]), int(sys.argv[5])
original = damaged.read_bytes()
rng = random.Random(seed)
refused = read = 0
np.seterr(all="ignore")
for trial in range(trials):
    data = bytearray(original)
    if trial % 3 == 0:
        data = data[: rng.randrange(len(data))]
    else:
        # Mostly where the structure is: the beginning of the file.
        end = len(data) if trial % 3 == 1 else min(len(data), 6000)
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(end)] = rng.randrange(256)
    target.write_bytes(data)
    try:
        with open_scan(source) as scan:
            for index in {0, len(scan) - 1}:
                kspace, acquired = scan.kspace(index), scan.acquired(index)
                assert kspace.shape == (scan.header.coils, *scan.header.matrix), kspace.shape
                assert kspace.dtype == np.complex64 and np.isfinite(kspace).all()
                assert acquired.shape == scan.header.matrix and acquired.dtype == bool
                remove_oversampling(kspace, scan.header)
                data_crimes(kspace, acquired, scan.header)
                scan.reference(index)
            scan.noise()
        read += 1
    except InputError as error:
        assert "\\n" not in str(error) and len(str(error)) < 500, str(error)
        refused += 1
    except BaseException:
        print("trial", trial, file=sys.stderr)
        raise
print(refused, read)
"""


def fuzz(source: Path, damaged: Path, target: Path, trials: int = 100, seed: int = 0) -> tuple[int, int]:
    """Open `source` while `target` holds `damaged` with random bytes changed; return (refused, read)."""
    command = [sys.executable, "-c", PROGRAM, *map(str, (source, damaged, target, trials, seed))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    refused, read = map(int, done.stdout.split())
    return refused, read


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    return coil_kspace(np.stack([letter_f((24, 20))] * 2), coils=2, readout=48)


def test_fastmri(tmp_path, kspace):
    good = write_fastmri(tmp_path / "good.h5", kspace, crop=(24, 20), mask=np.ones(20))
    refused, read = fuzz(tmp_path / "bad.h5", good, tmp_path / "bad.h5")
    assert refused > 10
    assert read > 10


def test_mrd(tmp_path, kspace):
    good = write_mrd(tmp_path / "good.h5", kspace, crop=(24, 20))
    refused, read = fuzz(tmp_path / "bad.h5", good, tmp_path / "bad.h5")
    assert refused > 10
    assert read > 10


@pytest.mark.parametrize("suffix", [".cfl", ".hdr"])
def test_cfl(tmp_path, kspace, suffix):
    pair = write_cfl(tmp_path / "scan.cfl", kspace[0])
    good = tmp_path / f"good{suffix}"
    good.write_bytes(pair.with_suffix(suffix).read_bytes())
    refused, _ = fuzz(pair, good, pair.with_suffix(suffix), trials=50)
    assert refused > 10


@pytest.mark.parametrize("version", ["VD", "VB"])
def test_twix(tmp_path, kspace, version):
    texts, rows = protocol(24, 20), readouts_of(kspace.conj())
    noise = [(kspace[0, ..., 0], {"flags": ["NOISEADJSCAN"]})]
    if version == "VD":
        good = write_twix(tmp_path / "good.dat", [(texts, noise), (texts, rows)])
    else:
        good = write_vb(tmp_path / "good.dat", texts, [*noise, *rows])
    refused, read = fuzz(tmp_path / "bad.dat", good, tmp_path / "bad.dat")
    assert refused > 10
    assert read > 10


def test_what_a_scanner_wrote(tmp_path, shared_data):
    good = shared_data / "kspace" / "twix_gre_2ch_phantom.dat"
    refused, read = fuzz(tmp_path / "bad.dat", good, tmp_path / "bad.dat", trials=60)
    assert refused > 10
    assert read > 10
