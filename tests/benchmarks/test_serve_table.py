"""`bench serve`: images are compared with recon's, broken streams counted, and a file keeps it all."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.benchmarks import tables
from mrunfold.benchmarks.speed import serve
from mrunfold.benchmarks.store import save_measured
from mrunfold.io import open_scan


@pytest.fixture(scope="module")
def found():
    lines: list[str] = []
    measured = serve.measure(2, 48, 2, 1.0, 0.5, 10, 2, "cpu", lines.append)
    assert len(lines) == 6
    return measured


def test_every_image_is_that_of_recon(found):
    assert [(row["line_ms"], row["check"]) for row in found["rows"]] == [
        (0.5, False),
        (0.0, False),
        (0.5, True),
        (0.0, True),
    ]
    assert all(row["equal"] == 2 for row in found["rows"])
    assert all(row["first_s"] > 0 for row in found["rows"])
    assert found["parallel"] == {"scans": 2, "equal": 2}


def test_broken_streams_leave_a_server(found):
    assert found["broken"]["images_after"] == 2
    assert found["broken"]["bytes_kept"] == 0
    assert len(found["broken"]["memory_mb"]) == 2


def test_what_was_measured_is_kept_as_a_table(found, tmp_path):
    save_measured(found, tmp_path / "serve.json")
    (table,) = tables.markdown([tmp_path / "serve.json"])
    assert table == serve.markdown(found)
    assert table.count("\n|") == 5
    assert "as fast as it goes, checked" in table
    assert "2 of 2" in table
    assert any("2 equal" in line for line in serve.facts(found))


def test_a_difference_would_be_seen(found, tmp_path):
    path, lines = serve.write_scan(tmp_path / "scan.h5", 2, 48, 1, 1.0)
    row = serve._latency(path, _known(), lines, 0.0, np.zeros((1, 48, 48), np.float32))
    assert row["equal"] == 0


def _known():
    return serve.configurations(["inline-mean"], "cpu", {"check": 0})


def test_scans_are_read_as_they_are_meant(tmp_path):
    path, lines = serve.write_scan(tmp_path / "scan.h5", 2, 64, 3, 4.0)
    with open_scan(path) as scan:
        assert len(scan) == 3
        assert scan.acquired(2).any(axis=0).sum() == lines
        assert 64 / 4 * 0.7 < lines < 64 / 4 * 1.3
