"""README's and the docs' commands run in the order in which they are printed, at reduced sizes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import blocks, script

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(
        p.relative_to(ROOT).as_posix()
        for p in sorted(ROOT.glob("docs/**/*.md"))
        if "generated" not in p.parts
    ),
]
WITH_COMMANDS = [
    page for page in PAGES if "generated" not in page and blocks((ROOT / page).read_text(encoding="utf-8"))
]
QUICK = ["README.md"]
# Their Python examples build on each other: tests/test_docs_examples.py and tests/restoration run them.
SHELL_ONLY = ["docs/concepts/operators.md", "docs/concepts/samplers.md", "docs/concepts/restoration.md"]


@pytest.fixture
def clone(tmp_path):
    """A copy of the repository whose .venv is this environment, installed: what the pages start from."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder = tmp_path / "mrunfold"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/pictures/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".installed":
            (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv/.installed").touch()
    return folder


def run(page: str, folder: Path, slow: bool) -> None:
    found = blocks((ROOT / page).read_text(encoding="utf-8"))
    text = script([block for block in found if not (block.python and page in SHELL_ONLY)], slow)
    environment = os.environ | {
        "PATH": f"{folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder.parent),
        "BROWSER": "true",  # `view` opens no window
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(folder.parent / "numba")),
    }
    done = subprocess.run(
        ["bash", "-c", text], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{page} stops with exit code {done.returncode}:\n{done.stdout[-4000:]}"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", QUICK)
def test_the_commands_run(page, clone):
    git = ["git", "-C", str(clone)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    run(page, clone, slow=False)
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    left = [line for line in status.stdout.splitlines() if not line.startswith("A ")]
    assert not left, f"{page} writes what .gitignore does not name: {left}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_all_commands_run(page, clone):
    run(page, clone, slow=True)


PAGE = """Text.

    y = A x + n

<!-- docs-test
before: touch scan.h5
replace: --samples 16 => --samples 2
skip --to: needs a PACS
-->

    mrunfold recon scan.h5 --samples 16 \\
        --steps 4
    mrunfold push scan --to A@b:1

```python
if True:
    print("x")
```
"""


def test_commands_are_found_and_rules_obeyed():
    first, second = blocks(PAGE)
    assert first.before == ["touch scan.h5"]
    assert [line.split() for line in first.commands] == [
        ["mrunfold", "recon", "scan.h5", "--samples", "2", "--steps", "4"]
    ]
    assert second.commands == ["if True:", '    print("x")']


def test_a_command_that_fails_stops_the_page():
    page = blocks("    python -c 'raise SystemExit(3)'\n    python -c 'print(1)'\n")
    done = subprocess.run(["bash", "-c", script(page, True)], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "print(1)" not in done.stdout


@pytest.mark.parametrize(
    "rule", ["replace: --none => --some", "skip --none: why", "nonsense: word", "skip needs no colon"]
)
def test_a_rule_without_effect_is_refused(rule):
    with pytest.raises(ValueError, match=r"nothing to|not a rule"):
        blocks(f"<!-- docs-test\n{rule}\n-->\n\n    mrunfold doctor\n")


def test_rules_without_commands_are_refused():
    with pytest.raises(ValueError, match="no commands follow"):
        blocks("<!-- docs-test\nslow: why\n-->\n\nText.\n")
