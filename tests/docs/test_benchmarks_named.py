"""A benchmark that a page names is a command: most pages only show them, as they take minutes."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from mrunfold.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


def test_every_benchmark_of_the_docs_is_a_command():
    bench = get_command(app).commands["bench"].commands
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    named = {
        (page.name, word)
        for page in pages
        for word in re.findall(r"mrunfold bench ([a-z][a-z-]*)", page.read_text(encoding="utf-8"))
    }
    assert len({word for _, word in named}) > 8
    assert {(page, word) for page, word in named if word not in bench} == set()
