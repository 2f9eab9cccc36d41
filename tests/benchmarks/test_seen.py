"""What was trained on against what was not: the same scan and rule for both."""

from __future__ import annotations

import numpy as np
import pytest

from mrunfold.benchmarks.quality import scans as quality
from mrunfold.benchmarks.quality import seen
from mrunfold.benchmarks.quality.scans import Row
from mrunfold.protocols import ImageSet, load_protocol


def test_each_set_of_the_protocol_is_scanned_by_the_same_coils(tmp_path):
    np.savez(tmp_path / "a.npz", labels=np.ones((40, 44, 8), np.uint8))
    images = (
        ImageSet(pattern="*.npz", reader="labels", weight=1, licence="generated"),
        ImageSet(reader="leaves", weight=1, licence="generated"),
    )
    protocol = load_protocol("mri-compact").model_copy(update={"images": images})
    slices = list(seen.training_slices(tmp_path, protocol, each=2))
    assert [full.name for full in slices] == ["*.npz#0", "*.npz#1", "leaves#0", "leaves#1"]
    assert all(full.simulated and full.kspace.shape[0] == 8 for full in slices)
    again = list(seen.training_slices(tmp_path, protocol, each=2))
    assert all(np.array_equal(a.kspace, b.kspace) for a, b in zip(slices, again, strict=True))


def test_subjects_that_are_held_back_are_scanned_apart(tmp_path):
    for name, level in (("a1", 1), ("a2", 1), ("b1", 2)):
        labels = np.zeros((40, 44, 8), np.uint8)
        labels[: 20 * level, 4:] = 1
        np.savez(tmp_path / f"{name}.npz", labels=labels)
    images = (
        ImageSet(pattern="*.npz", reader="labels", weight=1, licence="generated", held_back=("b*.npz",)),
        ImageSet(reader="leaves", weight=1, licence="generated"),
    )
    protocol = load_protocol("mri-compact").model_copy(update={"images": images})
    trained = list(seen.training_slices(tmp_path, protocol, each=1))
    held = list(seen.training_slices(tmp_path, protocol, each=1, held_back=True))
    assert [full.name for full in trained] == ["*.npz#0", "leaves#0"]
    assert [full.name for full in held] == ["*.npz, held back#0"]


def test_gains_are_means_over_the_slices_of_a_set(monkeypatch):
    def row(data, method, db):
        numbers = {"coils": 8, "mask": "random", "accel": 4.0, "delivered": 4.0, "seed": 0, "sigma_y": 0.01}
        return Row(
            data, True, **numbers, method=method, lamda=None, psnr=db, ssim=0.9, evaluations=1, seconds=1.0
        )

    values = {"a#0": (30.0, 33.0), "a#1": (20.0, 25.0), "siat/x": (28.0, 29.0)}

    def measured(slices, kinds, seeds, **options):
        assert options["classical"] == ("l1_wavelet",)
        assert options["grid"] == quality.GRID
        rows = [
            row(n, m, db)
            for n, (l1, ours) in values.items()
            for m, db in (("l1_wavelet", l1), ("unfold", ours))
        ]
        for one in rows:
            options["report"](one)
        return rows

    monkeypatch.setattr(seen, "measure", measured)
    slices = [seen.FullSlice(name, np.zeros(1), None, True) for name in values]
    said = []
    found = seen.measure_seen(slices, kinds=(("random", 4.0),), report=said.append)
    assert [(r["data"], r["n"], r["gains"]["random 4"]) for r in found["rows"]] == [
        ("a", 2, pytest.approx(4.0)), ("siat", 1, pytest.approx(1.0)),
    ]  # fmt: skip
    assert len(said) == 3
    assert "| a | 2 | +4.00 |" in seen.markdown(found)


def test_the_last_row_is_what_held_back_subjects_gain_less():
    gains = {"a": 5.0, "b": 3.0, "a, held back": 4.0, "scan": 1.0}
    found = {"rows": [{"data": n, "n": 1, "gains": {"random 4": g}} for n, g in gains.items()]}
    assert "| seen less held back | 1 | +1.00 |" in seen.markdown(found)
    found["rows"] = found["rows"][:2]
    assert "held back" not in seen.markdown(found)
