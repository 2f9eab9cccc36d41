"""The Python examples of the docs run as printed, and links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mrunfold.benchmarks import tables
from mrunfold.benchmarks.quality.scans import load
from mrunfold.networks.weights import DEFAULT_WEIGHTS, FOLDER, weights_digest

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


ALL = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(str(p.relative_to(ROOT)) for p in sorted((*ROOT.glob("docs/**/*.md"), *ROOT.glob("mrunfold/**/*.md")))),
]
ALL = [page for page in ALL if not page.startswith("docs/generated/")]  # of the site, not of the repository


@pytest.mark.parametrize("page", ALL)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [t for t in targets if not (ROOT / page).parent.joinpath(t).exists()]
    assert not missing, f"{page} links to {missing}"


def test_tables_of_results_are_what_was_measured():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- table: (.+?) -->\n\n((?:\|.*\n)+)", text)
    assert len(found) == text.count("<!-- table:") > 0
    for name, table in found:
        assert table == tables.markdown([ROOT / "docs/results" / name])[0], f"docs/results.md: {name}"
    digest = weights_digest(FOLDER / f"{DEFAULT_WEIGHTS}.safetensors")[:12]
    for name, _ in found:
        if name == "intervals.json":  # its rows are of draws, without the weights' digest
            continue
        made_by = {r.made_by for r in load(ROOT / "docs/results" / name) if r.method == "unfold"}
        assert all(digest in m for m in made_by), (
            f"{name} was measured with other weights than those that ship"
        )


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("brain, 8 coils", "brain_8ch"),
        ("brain, 16 coils, little noise", "mchiew_16ch"),
        ("head, 1 coil", "larson_1ch"),
    ],
)
def test_gains_in_the_readme_are_those_of_the_results(row, name):
    summary = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))["summary"]
    gains = {(line["mask"], line["R"]): f"{line['gain']:+.2f}" for line in summary}
    expected = [gains[key] for key in (("poisson", 4.0), ("poisson", 8.0), ("random", 4.0))]
    assert f"| {row} | {' | '.join(expected)} |\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_restorations_is_what_was_measured():
    from mrunfold.benchmarks.photographs import rows as restore_rows
    from mrunfold.benchmarks.photographs import table as restore_table

    text = (ROOT / "docs/results-restoration.md").read_text(encoding="utf-8")
    file = ROOT / "docs/results/restore.json"
    rows, speed = restore_rows.load(file), restore_rows.load_speed(file)
    assert restore_table.markdown(rows, speed) in text
    for claim in restore_table.claims(rows).splitlines():
        assert f"\n- {claim}\n" in text, f"docs/results-restoration.md does not say: {claim}"
    digest = weights_digest(FOLDER / "natural-compact.safetensors")[:12]
    assert all(digest in r.made_by for r in rows if "unfold" in r.method)
    assert speed is None or digest in speed.made_by
