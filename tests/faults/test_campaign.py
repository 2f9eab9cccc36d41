"""A small part of the campaign, and that it can see what it is for."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from campaign.damage import damaged
from campaign.subjects import SUBJECTS, Wrong
from campaign.table import bad, markdown, write_table

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_campaign_finds_nothing(tmp_path):
    out = tmp_path / "faults.json"
    page = (ROOT / "docs" / "reliability.md").read_bytes()
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "tests.faults.campaign", "--scale", "0.02", "--only", "files", "names"]
    done = subprocess.run(
        [*command, "--seed", "1", "--out", str(out)],
        cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = json.loads(out.read_text())
    assert set(found["files"]) == set(SUBJECTS)
    assert all(counts["tried"] == 7 for counts in found["files"].values())
    assert found["names"]["tried"] == 4
    assert found["kills"] is None
    assert (ROOT / "docs" / "reliability.md").read_bytes() == page


def test_damage_is_damage_and_the_same_for_a_seed():
    data = bytes(range(256)) * 40
    found = [damaged(data, random.Random(seed), text=seed % 2 == 0) for seed in range(200)]
    assert data not in found
    assert len(set(found)) > 150
    assert found == [damaged(data, random.Random(seed), text=seed % 2 == 0) for seed in range(200)]


def test_what_reads_maps_without_their_digest_is_seen(tmp_path, monkeypatch):
    import numpy as np

    from mrunfold.coils import cache

    subject = SUBJECTS["coil maps in the cache"]
    path = subject.make(tmp_path)
    monkeypatch.setattr(cache, "_read", lambda *_: np.zeros((1, 3, 20, 18), np.complex64))
    with pytest.raises(Wrong, match="other maps"):
        subject.read(path)


NEVER = dict.fromkeys(
    ("failed", "wrong", "crashed", "hung", "lost", "doubled", "half_files", "tracebacks", "left_over",
     "control_characters"), 0,
)  # fmt: skip
FINE = {
    "seed": 0,
    "minutes": {"files": 1.0},
    "system": {"python": "3", "machine": "x"},
    "files": {"PNG": {"tried": 3, "read": 1, "refused": 2, "peak_memory_mb": 300.0} | NEVER},
    "kills": {"0 workers": {"kills": 2, "while_writing": 2} | NEVER},
    "names": {"tried": 4} | NEVER,
    "refusals": {"tried": 3} | NEVER,
}


@pytest.mark.parametrize(
    ("part", "kind", "word"),
    [("files", "PNG", "crashed"), ("kills", "0 workers", "lost"), ("names", None, "tracebacks"),
     ("refusals", None, "left_over")],
)  # fmt: skip
def test_one_fault_is_said_and_fails(tmp_path, part, kind, word):
    assert bad(FINE) == []
    found = json.loads(json.dumps(FINE))
    (found[part] if kind is None else found[part][kind])[word] = 1
    results, page = tmp_path / "faults.json", tmp_path / "page.md"
    results.write_text(json.dumps(found))
    page.write_text("before\n<!-- table: faults.json -->\nold\n<!-- end of table -->\nafter\n")
    assert write_table(results, page) == 1
    assert "old" not in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")


def test_the_page_has_the_table_of_the_results():
    results, page = ROOT / "docs" / "results" / "faults.json", ROOT / "docs" / "reliability.md"
    found = json.loads(results.read_text())
    assert bad(found) == []
    assert markdown(found) in page.read_text(encoding="utf-8")
