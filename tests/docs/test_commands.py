"""README's and the docs' commands run in the order in which they are printed, at reduced sizes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
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
WITH_PACS = ["docs/pacs.md", "docs/clinical.md"]
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
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


def run(page: str, folder: Path, slow: bool, before: Sequence[str] = ()) -> None:
    """Run a page's commands in a folder; before: a command that runs them where there is a PACS."""
    found = blocks((ROOT / page).read_text(encoding="utf-8"))
    kept = [block for block in found if not (block.python and page in SHELL_ONLY)]
    text = script(kept, slow, pacs=bool(before))
    environment = os.environ | {
        "PATH": f"{folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder.parent),
        "BROWSER": "true",  # `view` opens no window
        "DOCS_TESTS": str(Path(__file__).parent),
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(folder.parent / "numba")),
    }
    done = subprocess.run(
        [*before, "bash", "-c", text], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
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


@pytest.mark.clinical
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", WITH_PACS)
def test_the_commands_with_a_pacs_run(page, clone, tmp_path):
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: pip install '.[clinical]'")
    alone = ["unshare", "-n", "bash", "-c", 'ip link set lo up && exec "$@"', "alone"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("no network namespace can be made here: unshare -n needs root and iproute2")
    orthanc = ROOT / "tests/pacs/orthanc.py"
    run(page, clone, False, [*alone, sys.executable, str(orthanc), "--run", str(tmp_path / "orthanc")])


PAGE = """Text.

    y = A x + n

<!-- docs-test
before: touch scan.h5
before push: touch ledger
replace: --samples 16 => --samples 2
replace: A@b:1 => A@c:2
pacs --to: needs a PACS
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
    assert first.lines_to_run(pacs=True)[1:] == ["touch ledger", "mrunfold push scan --to A@c:2"]
    assert second.commands == ["if True:", '    print("x")']


def test_a_command_that_fails_stops_the_page():
    page = blocks("    python -c 'raise SystemExit(3)'\n    python -c 'print(1)'\n")
    done = subprocess.run(["bash", "-c", script(page, True)], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "print(1)" not in done.stdout


@pytest.mark.parametrize(
    "rule",
    [
        "replace: --none => --some",
        "skip --none: why",
        "before --none: touch x",
        "pacs --none: why",
        "nonsense: word",
        "skip needs no colon",
    ],
)
def test_a_rule_without_effect_is_refused(rule):
    with pytest.raises(ValueError, match=r"nothing to|not a rule"):
        blocks(f"<!-- docs-test\n{rule}\n-->\n\n    mrunfold doctor\n")


def test_rules_without_commands_are_refused():
    with pytest.raises(ValueError, match="no commands follow"):
        blocks("<!-- docs-test\nslow: why\n-->\n\nText.\n")
