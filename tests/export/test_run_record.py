"""What record.json can hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from mrunfold.export.record import peak_memory_mb, plain, to_json, versions


def test_everything_becomes_json():
    record = {
        "numpy": np.float32(0.5),
        "array": np.arange(3),
        "torch": torch.tensor([1.0, float("nan")]),
        "tuple": (1, None, True),
        "infinite": float("inf"),
        "complex": np.complex64(1 + 2j),
        "device": torch.device("cpu"),
        3: "a key that is a number",
    }
    read = json.loads(to_json(record))
    assert read["numpy"] == 0.5
    assert read["array"] == [0, 1, 2]
    assert read["torch"] == [1.0, "nan"]
    assert read["tuple"] == [1, None, True]
    assert read["infinite"] == "inf"
    assert read["complex"] == [1.0, 2.0]
    assert read["device"] == "cpu"
    assert read["3"] == "a key that is a number"


def test_paths_lose_their_folder():
    assert plain({"file": Path("/somewhere/private/scan.h5")}) == {"file": "scan.h5"}


def test_a_missing_package_has_no_version():
    found = versions(["numpy", "no-such-package-anywhere"])
    assert found == {"numpy": np.__version__, "no-such-package-anywhere": None}


def test_peak_memory_is_in_megabytes():
    before = peak_memory_mb()
    assert before is not None
    block = np.ones(30_000_000, dtype=np.float64)  # 240 MB
    block[::512] += 1
    after = peak_memory_mb()
    assert after is not None
    assert after >= 240
    assert after < 100_000
