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
    text = "".join(c if c in "\n\r\t" else printable(c) for c in value)
    if not value.lstrip(" ").startswith(FORMULA):
        return text
    try:
        float(value)
    except ValueError:
        return "'" + text
    return text
