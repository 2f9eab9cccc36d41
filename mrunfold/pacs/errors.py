"""What can go wrong with the other side."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Refused", "Unreachable"]


@dataclass(frozen=True)
class Refused:
    """The other side will not take one instance, however often it is sent.

    whole_class: it takes none of this SOP class: nothing is wrong with the file.
    """

    reason: str
    whole_class: bool = False


class Unreachable(Exception):
    """The other side did not answer, or not now; final: no further try helps before `way_out` is done."""

    def __init__(self, reason: str, way_out: str = "see that it runs", final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.way_out, self.final = reason, way_out, final
