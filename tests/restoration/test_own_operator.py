"""The operator of docs/concepts/restoration.md: it keeps the contract, and the shipped weights restore it."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from mrunfold.networks.weights import FOLDER

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "restoration.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)

module = types.ModuleType("restoration_example")  # that can be named, as pickle does
sys.modules[module.__name__] = module
example = vars(module)
for block in BLOCKS[:2]:
    exec(compile(block, str(PAGE), "exec", dont_inherit=True), example)
TestDoubleExposure = example["TestDoubleExposure"]


def test_the_operator_has_twenty_lines():
    lines = BLOCKS[0].split("@dataclass", 1)[1].strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= 20


@pytest.mark.skipif(
    not (FOLDER / "natural-compact.safetensors").exists(), reason="needs the weights natural-compact"
)
def test_the_shipped_weights_restore_it():
    exec(compile(BLOCKS[2], str(PAGE), "exec", dont_inherit=True), example)
    error = ((example["result"].mean - example["x"]) ** 2).mean()
    before = ((example["y"] - example["x"]) ** 2).mean()
    assert float(error) < 0.2 * float(before)
