"""No module is imported, directly or by way of others, by what it imports itself."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

from test_layers import at_module_level, imports, modules, parsed


def graph(found: dict[str, ast.Module], packages: set[str]) -> dict[str, set[str]]:
    """Return what each module imports when it is loaded, by module."""
    edges: dict[str, set[str]] = {}
    for module, tree in found.items():
        named = [name for name, _ in imports(at_module_level(tree), module, module in packages)]
        edges[module] = {target for name in named for target in [_module_of(name, found)] if target != module}
        edges[module].discard("")
    return edges


def _module_of(name: str, found: dict[str, ast.Module]) -> str:
    """Return the module that an imported name lies in, "" for another package's."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in found:
            return ".".join(parts[:length])
    return ""


def circle(edges: dict[str, set[str]]) -> set[str]:
    """Return the modules of one circle of imports, none where there is no circle."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return set(error.args[1])
    return set()


def test_no_modules_import_each_other_in_a_circle():
    found = {name: parsed(path) for name, path in modules().items()}
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert circle(graph(found, packages)) == set()


def test_a_circle_is_found():
    sources = {
        "m": "from m import a",
        "m.a": "from m.b import x",
        "m.b": "def f():\n    from m import a",
        "m.c": "from m.d import y",
        "m.d": "import m.e",
        "m.e": "from . import c",
    }
    found = {name: ast.parse(text) for name, text in sources.items()}
    assert circle(graph(found, {"m"})) == {"m.c", "m.d", "m.e"}
