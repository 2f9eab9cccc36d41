"""Imports go one way, as docs/architecture.md has it, and heavy packages are imported where they are used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The folders and what they are imported as.
FOLDERS = {"mrunfold": "mrunfold", "cli": "mrunfold.cli", "protocols": "mrunfold.protocols"}
HEAVY = {
    "deepinv", "fastmri", "highdicom", "ismrmrd", "lightning", "matplotlib", "nibabel", "nilearn", "pydicom",
    "pytorch_lightning", "scipy.ndimage", "sigpy", "skimage", "torchvision",
}  # fmt: skip
# A LightningModule is a class of lightning's: training cannot define one without it.
# So is a message of ismrmrd's: what is sent and received is of its classes.
HEAVY_ALLOWED = {("mrunfold.training", "lightning"), ("mrunfold.inline.messages", "ismrmrd")}
# The command line answers before these are loaded.
SLOW_TO_START = {"h5py", "numpy", "scipy", "torch"}


def modules() -> dict[str, Path]:
    """Every module of the project by the name it is imported as."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *(p for p in parts if p != "__init__")))] = path
    return found


def layers() -> dict[str, int]:
    """Layer of each first-level name of the package, read from the arrows in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"^    errors →.*?(?=\n\n)", text, flags=re.MULTILINE | re.DOTALL)
    assert block, "docs/architecture.md has lost the block of layers that begins with `errors →`"
    steps = [re.findall(r"\w+", step) for step in block.group().split("→")]
    return {name: level for level, names in enumerate(steps) for name in names}


def imports(tree: ast.AST, module: str, is_package: bool) -> list[tuple[str, int]]:
    """(absolute name, line) of everything imported anywhere in a module, in functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            base = base[: len(base) - node.level + is_package] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found += [(f"{source}.{alias.name}", node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.append((node.args[0].value, node.lineno))
    return found


def layer_faults(tree: ast.AST, module: str, is_package: bool, order: dict[str, int]) -> list[str]:
    """What a module imports from a layer above its own."""
    own = module.split(".")[1] if "." in module else None
    if own is not None and own not in order:
        return [f"{module}: docs/architecture.md gives {own} no layer"]
    faults = []
    for name, line in imports(tree, module, is_package):
        parts = name.split(".")
        if parts[0] in ("cli", "protocols"):
            faults.append(f"{module}:{line} imports {name}; it is installed as mrunfold.{name}")
        if parts[0] != "mrunfold" or len(parts) < 2 or parts[1] not in order:
            continue  # somebody else's, or a name of the package itself such as __version__
        if own is None or order[parts[1]] > order[own]:
            faults.append(f"{module}:{line} imports {name}, of a later layer")
    return faults


def at_module_level(tree: ast.Module) -> ast.Module:
    """The same tree without what runs only when called, or never (TYPE_CHECKING)."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    return Strip().visit(ast.parse(ast.unparse(tree)))


def heavy_faults(tree: ast.Module, module: str, is_package: bool, heavy: set[str]) -> list[str]:
    found = []
    for name, _ in imports(at_module_level(tree), module, is_package):
        for package in heavy:
            allowed = any(module.startswith(m) and p == package for m, p in HEAVY_ALLOWED)
            if (name == package or name.startswith(f"{package}.")) and not allowed:
                found.append(f"{module} imports {name} at module level; import it where it is used")
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@pytest.mark.parametrize("module", modules())
def test_imports_go_one_way(module):
    if module == "mrunfold":
        return  # the door: it offers names of the layers, loaded when asked for
    path = modules()[module]
    faults = layer_faults(parsed(path), module, path.name == "__init__.py", layers())
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("module", modules())
def test_heavy_packages_are_imported_where_used(module):
    path = modules()[module]
    heavy = HEAVY | SLOW_TO_START if module.startswith("mrunfold.cli") else HEAVY
    faults = heavy_faults(parsed(path), module, path.name == "__init__.py", heavy)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("module", [m for m in modules() if not m.startswith("mrunfold.testing")])
def test_nothing_imports_the_contracts(module):
    """mrunfold.testing needs pytest, which is not installed with the package."""
    path = modules()[module]
    named = [name for name, _ in imports(parsed(path), module, path.name == "__init__.py")]
    assert not [n for n in named if n.startswith(("mrunfold.testing", "pytest"))]


def test_every_layer_of_the_page_is_known():
    order = layers()
    assert order["errors"] == 0
    assert order["cli"] == max(order.values())
    assert order["solvers"] == order["operators"] < order["masks"] < order["methods"] < order["pipeline"]


def test_every_package_is_installed():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[(.*?)\]", text, flags=re.MULTILINE | re.DOTALL)
    assert listed
    found = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert set(re.findall(r'"([\w.]+)"', listed.group(1))) == found


def test_the_command_line_starts_without_the_slow_packages():
    slow = sorted(HEAVY | SLOW_TO_START)
    code = f"import sys, mrunfold.cli.main; print(*[m for m in {slow!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "loaded before the command line could answer"


# --- the tests above can fail ---


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mrunfold.solvers", "from mrunfold.methods import sense"),
        ("mrunfold.solvers", "def f():\n    import mrunfold.problem"),
        ("mrunfold.solvers", "from . import networks"),
        ("mrunfold.operators.base", "from ..coils import espirit"),
        ("mrunfold.masks.draw", "if True:\n    from mrunfold import pipeline"),
        ("mrunfold.masks.draw", "import importlib\nimportlib.import_module('mrunfold.review')"),
        ("mrunfold", "from mrunfold.errors import InputError"),
        ("mrunfold.methods.sense", "from cli import main"),
        ("mrunfold.nowhere", "x = 1"),
    ],
)
def test_a_wrong_import_is_found(module, source):
    assert len(layer_faults(ast.parse(source), module, module == "mrunfold", layers())) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mrunfold.operators.sense", "from mrunfold.errors import InputError"),
        ("mrunfold.operators.sense", "from mrunfold.solvers import inner"),
        ("mrunfold.operators", "from .base import Space"),
        ("mrunfold.cli.main", "def f():\n    from mrunfold import __version__, pipeline"),
    ],
)
def test_a_right_import_is_let_through(module, source):
    assert layer_faults(ast.parse(source), module, module == "mrunfold.operators", layers()) == []


def test_a_heavy_import_is_found_at_module_level_only():
    wrong = [
        "import sigpy",
        "import sigpy.mri as mr",
        "from sigpy import mri",
        "try:\n    import sigpy\nexcept ImportError:\n    pass",
        "class A:\n    import sigpy",
        "from scipy import ndimage",
    ]
    right = [
        "def f():\n    import sigpy",
        "class A:\n    def f(self):\n        import sigpy",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sigpy",
        "from scipy import signal",
    ]
    assert all(heavy_faults(ast.parse(s), "mrunfold.x", False, HEAVY) for s in wrong)
    assert not any(heavy_faults(ast.parse(s), "mrunfold.x", False, HEAVY) for s in right)
    assert not heavy_faults(ast.parse("import lightning"), "mrunfold.training.module", False, HEAVY)


# What a scan is, which methods, samplers and networks must not ask: they are given operators.
SCANS = re.compile(r"\b(trajectory|kind_of|partitions?|hybrid|frames|Nufft|is_radial)\b")
OPERATORS_ONLY = ("mrunfold.methods", "mrunfold.networks", "mrunfold.diffusion")


def scan_faults(tree: ast.AST, module: str, is_package: bool) -> list[str]:
    """What a module imports of scans, and the names by which it asks what kind of scan there is."""
    found = [
        f"{module}:{line} imports {name}"
        for name, line in imports(tree, module, is_package)
        if (name.startswith("mrunfold.io.") and not name.startswith("mrunfold.io.atomic"))
        or name.startswith("mrunfold.operators.nufft")
    ]
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
        if SCANS.fullmatch(name):
            found.append(f"{module}:{getattr(node, 'lineno', 0)} asks for `{name}`")
    return found


@pytest.mark.parametrize("module", [m for m in modules() if m.startswith(OPERATORS_ONLY)])
def test_methods_and_networks_see_operators_and_no_scans(module):
    path = modules()[module]
    faults = scan_faults(parsed(path), module, path.name == "__init__.py")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("text", ["from mrunfold.io.scan import Header", "if A.trajectory: pass", "Nufft(y)"])
def test_a_method_that_asks_for_the_scan_is_found(text):
    assert scan_faults(ast.parse(text), "mrunfold.methods.new", False)
