"""`bench export` measures what it says it does."""

from __future__ import annotations

import shutil

import pytest

from mrunfold.benchmarks.speed import export
from mrunfold.benchmarks.speed.export import load_seconds, measure


def test_every_way_is_measured(monkeypatch):
    monkeypatch.setattr(export, "BROWSERS", ())  # loading is tested below
    seen = []
    rows = measure(2, 16, seen.append)
    assert rows == seen
    assert [row.name for row in rows] == ["read", "nibabel", "nifti", "dicom", "page"]
    assert rows[0].written_mb == 0
    assert all(row.written_mb > 0 for row in rows[1:])
    assert rows[-1].written_mb > 1  # the viewer alone is that large
    assert all(row.peak_mb is None or row.peak_mb >= row.before_mb for row in rows)


@pytest.mark.clinical
def test_a_page_counts_as_loaded_when_it_says_so(tmp_path, monkeypatch):
    if not any(map(shutil.which, export.BROWSERS)):
        pytest.skip("Chromium is not installed: apt-get install chromium")
    page = tmp_path / "page.html"
    later = "setTimeout(() => document.title = 'not for diagnosis', 1500)"
    page.write_text(f"<title>loading</title><script>{later}</script>")
    assert load_seconds(page) > 1.5
    page.write_text("<title>never</title>")
    monkeypatch.setattr(export, "LONGEST_LOAD", 2.0)
    with pytest.raises(RuntimeError, match="never drawn"):
        load_seconds(page)
