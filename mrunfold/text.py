"""Text of files and names that nobody vouches for, made fit for a terminal, a page, a table and JSON."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["printable", "utf8_json"]


def printable(text: object) -> str:
    r"""Return `text` with what does not print spelled out: an escape character becomes \x1b.

    Terminals obey control characters, and bytes of a name that are not UTF-8 cannot be encoded.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def utf8_json(value: Any, indent: int | None = None) -> str:
    """Return JSON text that UTF-8 can encode: ASCII alone where a name in it is not UTF-8."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, indent=indent)
    return text
