"""Echoes, time and averages in BART's dimensions, on files that bart wrote."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from framefiles import kspace_of

from mrunfold.io import open_scan
from mrunfold.io.cfl import read_cfl, write_cfl

BART = shutil.which("bart")
pytestmark = pytest.mark.skipif(BART is None, reason="bart is not installed: apt-get install bart")


def bart(folder, *words):
    subprocess.run([BART, *map(str, words)], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path):
    """One-slice pairs `k0` to `k11`, each another image."""
    for n in range(12):
        one = kspace_of(1 + 0.1 * n, slices=1, seed=n)[0]
        write_cfl(tmp_path / f"k{n}", one.transpose(1, 2, 0)[:, :, None])
    return tmp_path


def images(folder, number):
    return read_cfl(folder / f"k{number}")[:, :, 0].transpose(2, 0, 1)


def test_echoes_and_time_are_frames(folder):
    """join of bart puts 2 slices (13), 3 echoes (5) and 2 times (10) together; each is where it was put."""
    for time in range(2):
        for echo in range(3):
            first = 6 * time + 2 * echo
            bart(folder, "join", 13, f"k{first}", f"k{first + 1}", f"e{time}{echo}")
        bart(folder, "join", 5, *(f"e{time}{echo}" for echo in range(3)), f"t{time}")
    bart(folder, "join", 10, "t0", "t1", "all")
    with open_scan(folder / "all.cfl") as scan:
        assert (scan.header.slices, scan.header.places) == (12, 2)
        labels = [(la["phase"], la["contrast"]) for la in scan.header.frames.labels]
        assert labels == [(t, e) for t in range(2) for e in range(3)]
        for index in range(12):
            np.testing.assert_array_equal(scan.kspace(index), images(folder, index))


def test_averages_are_averaged_where_they_have_samples(folder):
    first, second = images(folder, 0).copy(), images(folder, 1).copy()
    second[..., ::2] = 0
    write_cfl(folder / "half", second.transpose(1, 2, 0)[:, :, None])
    bart(folder, "join", 14, "k0", "half", "both")
    with open_scan(folder / "both.cfl") as scan:
        assert scan.header.frames is None
        assert any("2 averages" in note for note in scan.header.notes)
        expected = np.where(second != 0, (first + second) / 2, first)
        np.testing.assert_allclose(scan.kspace(0), expected, rtol=1e-6)
