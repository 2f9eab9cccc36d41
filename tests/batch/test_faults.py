"""Bad files among many good ones, and a clock that is set back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from rawfiles import coil_kspace, letter_f, write_fastmri

from mrunfold.batch import run_batch
from mrunfold.pipeline import ReconSettings

SETTINGS = ReconSettings(method="zero_filled", cache=False, threads=1, seed="name")


@pytest.fixture
def raw(tmp_path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    kspace = coil_kspace(letter_f((48, 40))[None], coils=2)
    for number in range(20):
        write_fastmri(folder / f"file{number:02}.h5", kspace * (1 + number), crop=(40, 32))
    return folder


def outputs(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(out.glob("[!.]*.h5"))}


def test_four_bad_files_among_twenty_good_ones(tmp_path, raw):
    run_batch([raw], tmp_path / "clean", SETTINGS)
    good = (raw / "file00.h5").read_bytes()
    (raw / "cut.h5").write_bytes(good[: len(good) // 3])
    (raw / "empty.h5").write_bytes(b"")
    for name in ("holes.h5", "liar.h5"):
        shutil.copy(raw / "file07.h5", raw / name)
    with h5py.File(raw / "holes.h5", "r+") as file:
        kspace = file["kspace"][()]
        kspace[0, 1, 2, 3] = np.nan
        file["kspace"][...] = kspace
    with h5py.File(raw / "liar.h5", "r+") as file:
        text = file["ismrmrd_header"][()]
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text.replace(b"<x>40</x>", b"<x>65535</x>")
    found = run_batch([raw], tmp_path / "out", SETTINGS)
    assert set(found.failed) == {"cut", "empty", "holes", "liar"}
    assert len(found.done) == 20
    assert outputs(tmp_path / "out") == outputs(tmp_path / "clean")


def test_a_clock_set_back_changes_nothing(tmp_path, raw):
    out = tmp_path / "out"
    run_batch([raw], out, SETTINGS)
    before = outputs(out)
    # As if everything that was done were of a day to come, and a new file of years ago.
    for path in (*raw.iterdir(), *out.iterdir()):
        os.utime(path, (4e9, 4e9))
    write_fastmri(raw / "file03.h5", coil_kspace(letter_f((48, 40))[None], coils=2, seed=5), crop=(40, 32))
    os.utime(raw / "file03.h5", (1, 1))
    again = run_batch([raw], out, SETTINGS)
    assert again.done == ["file03"]
    assert len(again.kept) == 19
    after = outputs(out)
    assert {name for name in before if before[name] != after[name]} == {"file03.h5"}
