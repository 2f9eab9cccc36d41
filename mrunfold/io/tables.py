"""Cells of CSV files that a spreadsheet will open."""

from __future__ import annotations

from typing import Any

from mrunfold.text import printable

__all__ = ["FORMULA", "safe_cell"]

# What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: Any) -> Any:
    """Return a value for a CSV cell: a text that a spreadsheet would run as a formula gets a leading ',
    and what does not print is spelled out.

    Numbers stay numbers, also as text.  None is an empty cell.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    value = "\n".join(map(printable, value.split("\n")))
    if not value.lstrip(" ").startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
