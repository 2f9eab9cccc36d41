"""The one exception that is meant for users: bad input, with the way out in its message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "did_you_mean"]


class InputError(ValueError):
    """Bad input from the user: one line that says what was expected, what came and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean X?)"` for the nearest of `known`, or the list of them all."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else f" (known: {', '.join(known)})"
