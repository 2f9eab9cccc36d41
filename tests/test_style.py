"""Bounds that a reader relies on: short functions, short modules, no exception swallowed whole."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("mrunfold", "cli", "protocols", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
LONGEST_FUNCTION = 60
LONGEST_MODULE = 400


def faults(source: str) -> list[str]:
    """What in a module goes past the bounds."""
    found = []
    if (lines := source.count("\n")) > LONGEST_MODULE:
        found.append(f"{lines} lines, more than {LONGEST_MODULE}: split it")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                found.append(
                    f"line {node.lineno}: {node.name} has {length} lines, more than {LONGEST_FUNCTION}"
                )
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"line {node.lineno}: a bare except swallows Ctrl-C too; name the exceptions")
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_bounds_are_kept(name):
    assert not faults((ROOT / name).read_text(encoding="utf-8"))


def test_a_breach_is_found():
    assert faults("\n" * 401)
    assert faults("def f():\n" + "    x = 1\n" * 60)
    assert faults("try:\n    f()\nexcept:\n    pass\n")
    assert not faults("def f():\n" + "    x = 1\n" * 59 + "try:\n    f()\nexcept OSError:\n    pass\n")


def test_test_modules_have_names_of_their_own():
    """pytest imports them by file name alone: a second one of a name stops the run of the whole suite."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
