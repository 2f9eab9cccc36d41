"""Pages that are not in docs/ (of the repository's root, model cards, the API), and the links of all pages.

Links of every page are right in the repository; while Sphinx reads a page they are turned into the site's.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GENERATED = "generated"  # a folder of docs/ that git ignores
# Parts of the package that are no library: the commands, and what measures the project itself.
NOT_API = {"benchmarks", "cli", "extras"}
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
CONTENTS = {
    "Start": ["install", "quickstart", "notebooks/arrays", "notebooks/folder"],
    "Method": [
        "concepts/diff-unfolding", "concepts/coils", "concepts/masks", "concepts/methods",
        "concepts/samplers", "concepts/operators", "concepts/bring-your-own",
        "concepts/training", "concepts/adapt", "notation",
    ],
    "Use": [
        "concepts/files", "concepts/twix", "concepts/trajectories",
        "concepts/partial-fourier", "concepts/frames", "concepts/volumes",
        "concepts/your-data", "concepts/check", "concepts/batch",
        "concepts/evaluating", "evaluation-traps", "concepts/restoration",
        "scaling", "reliability", "runtime",
    ],
    "Clinic": ["clinical", "concepts/inline", "concepts/export", "concepts/review", "pacs"],
    "Results": [
        "results", "results-restoration", "results-learned", "results-peers", "performance", "lab-notes"
    ],
    "Project": [
        "architecture", f"{GENERATED}/contributing", f"{GENERATED}/changelog", "notices/icbm152",
        "notices/niivue",
    ],
}  # fmt: skip


def outside() -> dict[str, str]:
    """Return repository path → path in docs/ of every page that lies outside docs/."""
    found = {name: f"{GENERATED}/{name.lower()}" for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
    for card in sorted(ROOT.glob("mrunfold/**/*.md")):
        found[card.relative_to(ROOT).as_posix()] = f"{GENERATED}/{card.name}"
    return found


def public_names(path: Path) -> list[str]:
    """Return `__all__` of a module, without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def api_modules() -> dict[str, list[str]]:
    """Return part of the package → the modules that document it: itself, or those in it that export names."""
    found = {"protocols": ["mrunfold.protocols"]}  # in a folder of its own
    for path in sorted((ROOT / "mrunfold").iterdir()):
        name, init = path.stem, path / "__init__.py"
        if name.startswith("_") or name in NOT_API:
            continue
        if path.suffix == ".py" or (init.exists() and public_names(init)):
            found[name] = [f"mrunfold.{name}"]
        elif init.exists():
            inside = [p for p in sorted(path.rglob("*.py")) if public_names(p)]
            found[name] = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in inside]
    return {name: found[name] for name in sorted(found) if found[name]}


def generate(app: Any, config: Any) -> None:
    """Write the pages that Sphinx is to find: of the API, and empty ones that `read` fills."""
    folder = Path(app.srcdir) / GENERATED
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "api").mkdir(parents=True)
    for target in outside().values():
        (Path(app.srcdir) / target).touch()
    for name, modules in api_modules().items():
        title = f"mrunfold.{name}"
        parts = [title + "\n" + "=" * len(title)]
        for module in modules:
            if len(modules) > 1:
                parts.append(module + "\n" + "-" * len(module))
            parts.append(f".. automodule:: {module}")
        (folder / "api" / f"{name}.rst").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read(app: Any, docname: str, source: list[str]) -> None:
    """Fill the pages of outside, give the index its contents, and turn links into the site's."""
    if docname.startswith(f"{GENERATED}/api/"):
        return
    origins = {target.removesuffix(".md"): origin for origin, target in outside().items()}
    origin = origins.get(docname, f"docs/{docname}.md")
    if docname in origins:
        source[0] = (ROOT / origin).read_text(encoding="utf-8")
    source[0] = LINK.sub(lambda match: _moved(match, origin, docname), source[0])
    if docname == "index":
        source[0] += _contents()


def _moved(match: re.Match[str], origin: str, docname: str) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[2]))
    target = outside().get(path, path.removeprefix("docs/"))
    if not path.startswith("docs/") and target == path:
        target = f"../{path}"  # a file of the repository that is no page
    # From a root of its own: relpath would else depend on the name of the working folder.
    folder = posixpath.join("/docs", posixpath.dirname(docname))
    return match[1] + posixpath.relpath(posixpath.join("/docs", target), folder) + match[3]


def _contents() -> str:
    cards = [target for target in outside().values() if "/mri-" in target or "/natural-" in target]
    api = [f"{GENERATED}/api/{name}" for name in api_modules()]
    docs = [
        p.relative_to(ROOT / "docs") for p in sorted(ROOT.glob("docs/**/*")) if p.suffix in (".md", ".ipynb")
    ]
    written = [p.with_suffix("").as_posix() for p in docs if p.parts[0] != GENERATED and p.stem != "index"]
    listed = {entry for entries in CONTENTS.values() for entry in entries}
    more = [page for page in written if page not in listed]  # new pages, until they have their place above
    sections = CONTENTS | ({"More": more} if more else {}) | {"Weights": cards, "API": api}
    blocks = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```"])
        for caption, entries in sections.items()
    ]
    return "\n\n" + "\n\n".join(blocks) + "\n"
