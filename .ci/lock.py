"""Print the lock file of continuous integration: all that the project's extras bring, with versions.

Versions are those of the environment that runs this, without a build's own mark (+cpu), which only some
index has.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = "mrunfold"
# Tools of `make sbom`, of the audit and of the clinical tests, which the project itself does not need.
TOOLS = ("cyclonedx-bom", "pip-audit", "bids-validator-deno")


def closure() -> dict[str, str]:
    """Return versions by name of all that `mrunfold` with its extras needs and that is installed here."""
    extras = distribution(PROJECT).metadata.get_all("Provides-Extra") or []
    todo = [(PROJECT, extra) for extra in ("", *extras)] + [(tool, "") for tool in TOOLS]
    seen: set[tuple[str, str]] = set()
    found: dict[str, str] = {}
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            print(f"{name} is not installed here and not in the lock file", file=sys.stderr)
            continue
        found[name] = Version(package.version).public
        for text in package.requires or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                inner = canonicalize_name(need.name)
                todo += [(inner, each) for each in ("", *need.extras)]
    found.pop(PROJECT)
    return found


if __name__ == "__main__":
    print("# Made by `make lock`: versions for `pip install -c`; see CONTRIBUTING.md.")
    for name, version in sorted(closure().items()):
        print(f"{name}=={version}")
