"""Docstrings as they are typed: shapes such as (*batch, y, x) and symbols such as x_t are no markup."""

from __future__ import annotations

import re
import textwrap
from typing import Any

CODE = re.compile(r"(`[^`]*`)")


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring, in place, as reStructuredText that shows what was typed."""
    lines[:] = literal("\n".join(lines)).split("\n")


def literal(text: str) -> str:
    """Return reStructuredText of plain text: paragraphs, lists with "- ", indented blocks and `code`."""
    paragraphs = re.split(r"\n\s*\n", text.expandtabs().strip("\n"))
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs) + "\n"


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith("    ") for line in lines):
        return ".. code-block:: none\n\n" + textwrap.indent(textwrap.dedent(text), "    ")
    items = re.split(r"\n(?=\s*- )", text)
    if all(re.match(r"\s*- ", item) for item in items):
        return "\n".join("- " + _escaped(" ".join(item.split())[2:]) for item in items)
    if any(line.startswith("    ") for line in lines):  # an equation or a list right below its sentence
        return "\n".join("| " + _escaped(line) for line in lines)
    return _escaped(" ".join(line.strip() for line in lines))


def _escaped(text: str) -> str:
    parts = CODE.split(text)
    parts[::2] = [re.sub(r"([\\*|_`])", r"\\\1", part) for part in parts[::2]]
    # Literals must stand apart from what is around them; an escaped space is not shown.
    parts[1::2] = [f"\\ `{part}`\\ " for part in parts[1::2]]
    return "".join(parts).strip()
