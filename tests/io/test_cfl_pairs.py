"""BART pairs of any dimensions: what is written comes back, and in BART's order."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.errors import InputError
from mrunfold.io.cfl import read_cfl, write_cfl


def test_what_is_written_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    array = (rng.standard_normal((5, 4, 1, 3)) + 1j * rng.standard_normal((5, 4, 1, 3))).astype(np.complex64)
    write_cfl(tmp_path / "a", array)
    np.testing.assert_array_equal(read_cfl(tmp_path / "a"), array)
    np.testing.assert_array_equal(read_cfl(tmp_path / "a.hdr"), array)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.cfl", "a.hdr"]


def test_the_first_dimension_is_the_fastest(tmp_path):
    write_cfl(tmp_path / "a", np.arange(6).reshape(2, 3).astype(np.complex64))
    np.testing.assert_array_equal(np.fromfile(tmp_path / "a.cfl", "<c8").real, [0, 3, 1, 4, 2, 5])
    assert (tmp_path / "a.hdr").read_text().splitlines()[1].split()[:3] == ["2", "3", "1"]


def test_a_truncated_pair_is_refused(tmp_path):
    write_cfl(tmp_path / "a", np.ones((4, 4), np.complex64))
    (tmp_path / "a.cfl").write_bytes((tmp_path / "a.cfl").read_bytes()[:-8])
    with pytest.raises(InputError, match="truncated"):
        read_cfl(tmp_path / "a")
