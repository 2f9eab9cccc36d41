"""The notebooks run, and what they print is what is stored in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="no nbformat: pip install '.[dev]'")
nbclient = pytest.importorskip("nbclient", reason="no nbclient: pip install '.[dev]'")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def printed(notebook) -> list[str]:
    """What each cell of code printed."""
    return [
        "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def same(stored: str, now: str) -> bool:
    """Whether two texts differ in nothing but numbers, and those by less than 5 % or 0.02."""
    first, second = (list(map(float, NUMBER.findall(text))) for text in (stored, now))
    if NUMBER.sub("#", stored) != NUMBER.sub("#", now):
        return False
    return all(abs(a - b) <= max(0.02, 0.05 * abs(a)) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_and_prints_what_is_stored(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    stored = printed(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=900, startup_timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    for before, now in zip(stored, printed(notebook), strict=True):
        assert same(before, now), (
            f"{path.name} has\n{before}\nand prints now\n{now}\n`make notebooks` stores it"
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_stored_as_it_ran(path):
    """With outputs, in order, no error, and nothing of the machine that ran it."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    text = path.read_text(encoding="utf-8")
    assert "/home/" not in text
    assert "/root/" not in text
    assert str(ROOT) not in text


def test_texts_are_compared_number_by_number():
    assert same("PSNR 33.2 dB", "PSNR 33.6 dB")
    assert not same("PSNR 33.2 dB", "PSNR 39.6 dB")
    assert not same("done: 4 failed: 0", "done: 4 left: 0")


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"arrays", "folder"}
