"""The Python examples of the docs run as printed, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Pages whose examples stand by themselves; the others need a scan.
PAGES = [
    "docs/concepts/operators.md",
    "docs/concepts/samplers.md",
    "docs/concepts/diff-unfolding.md",
    "docs/concepts/training.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    namespace = {"__name__": "__example__"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{page}, example {number}", "exec"), namespace)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", *PAGES, "docs/index.md", "docs/notation.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [t for t in targets if not (ROOT / page).parent.joinpath(t).exists()]
    assert not missing, f"{page} links to {missing}"
