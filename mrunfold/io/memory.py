"""How much memory there is for what is about to be done, known before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

from mrunfold.errors import InputError

__all__ = ["available_memory", "require_memory"]

VARIABLE = "MRUNFOLD_MEMORY_GB"
UNKNOWN = 8 << 30  # bytes taken for granted where the system does not say
# (limit, use) of the control group that a container or a job runs in: version 2, version 1.
GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> int:
    """Return bytes that may be taken: $MRUNFOLD_MEMORY_GB, else what system and container have free."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        try:
            return int(float(chosen) * 1e9)
        except (ValueError, OverflowError):
            raise InputError(f"{VARIABLE} is a number of gigabytes, got {chosen!r}") from None
    free = [found for found in (_free(), _left_in_group()) if found is not None]
    return min(free, default=UNKNOWN)


def require_memory(needed: float, purpose: str, remedy: str) -> None:
    """Raise InputError where `needed` bytes are more than there are; the message says how to need less."""
    if needed > (free := available_memory()):
        raise InputError(
            f"{purpose} takes about {needed / 1e9:.3g} GB of memory and {free / 1e9:.3g} GB are free; "
            f"{remedy}, or set {VARIABLE} if more may be used"
        )


def _free() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:  # macOS has no count of free pages; half of all is a modest guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _left_in_group() -> int | None:
    for limit, use in GROUPS:
        try:
            most = Path(limit).read_text(encoding="ascii").strip()
            if most != "max":
                return max(int(most) - int(Path(use).read_text(encoding="ascii")), 0)
        except (OSError, ValueError):
            continue
    return None
