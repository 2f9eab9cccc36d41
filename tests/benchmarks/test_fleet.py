"""The fleet that is counted from a measured slice, against counting by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mrunfold.benchmarks.speed.batch import SETS, fleet_markdown, measured_markdown
from mrunfold.benchmarks.store import read_measured
from mrunfold.errors import InputError

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOUND = {
    "sizes": {"volumes": 4, "slices": 4, "coils": 15, "size": 320, "memory_slices": 200},
    "method": "unfold",
    "device": "cpu",
    "seconds_per_slice": {"read": 0.5, "problem": 1.5, "method": 8.0, "write": 0.0},
    "bare_seconds_per_slice": 10.0,
    "batch_seconds_per_slice": 10.0,
    "batch_overhead": 0.0,
    "bytes_per_slice": 30e6,
    "memory": {"slices": 200, "early_mb": 100.0, "late_mb": 101.0, "growth": 0.01},
    "task_seconds": 0.0,
    "two_over_one": 1.25,
}


def rows(text: str) -> dict[tuple[str, str, int], list[float]]:
    found = {}
    for line in text.splitlines()[2:]:
        name, device, workers, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
        found[name, device.split(" (")[0], int(workers)] = [float(n.removesuffix(" %")) for n in numbers]
    return found


def test_hours_are_rounds_times_a_volume():
    table = rows(fleet_markdown(FOUND, gpu_factor=8))
    for name, (volumes, slices) in SETS.items():
        # One worker does every slice at 10 s; a GPU leaves 2 s on the core and takes 1 s for the rest.
        assert table[name, "core", 1][0] == pytest.approx(slices * 10 / 3600, abs=0.006)
        assert table[name, "core + GPU", 1][0] == pytest.approx(slices * 3 / 3600, abs=0.006)
        rounds = -(-volumes // 64)
        assert table[name, "core", 64][0] == pytest.approx(rounds * slices / volumes * 10 / 3600, abs=0.006)
        assert table[name, "core", 1][2] == pytest.approx(2 * 30 / 10, abs=0.5)  # MB/s, each byte twice
    assert table["knee", "core", 64][1] == round(100 * 199 / (4 * 64))
    assert table["knee", "core", 1][1] == 100
    # A coordinator that takes a second a volume adds one to every round.
    slower = rows(fleet_markdown(FOUND | {"task_seconds": 3600.0}, gpu_factor=8))
    assert slower["knee", "core", 64][0] - table["knee", "core", 64][0] == pytest.approx(4, abs=0.02)


def test_limits_stand_beside_what_was_measured():
    text = measured_markdown(FOUND)
    assert "| batch over bare method | 0.0 % | ≤ 5 % |" in text
    assert "| memory over 200 slices | +1.0 % | < 10 % |" in text
    assert "| 2 workers × 1 thread over 1 × 2 | 1.25× |" in text


def test_other_files_are_refused(tmp_path):
    for text in ("{}", "[", '"x"', '{"bench": "speed"}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match="bench batch --out"):
            read_measured(tmp_path / "x.json", "batch")


def test_the_page_has_what_was_measured():
    text = (DOCS / "scaling.md").read_text(encoding="utf-8")
    (name,) = re.findall(r"<!-- fleet: (\S+) -->", text)
    if not (DOCS / "results" / name).is_file():
        pytest.skip(
            f"docs/results/{name} is not measured yet: mrunfold bench batch --out docs/results/{name}"
        )
    found = read_measured(DOCS / "results" / name, "batch")
    assert json.dumps(found)
    assert measured_markdown(found) in text
    assert fleet_markdown(found, 20) in text
