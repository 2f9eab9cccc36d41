"""Cores that there are, and threads of NumPy's linear algebra while a problem is made."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = ["available_cores", "one_blas_thread"]


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[Any]:
    """Give NumPy's BLAS one thread within a block, in the whole process.

    Matrices over coils are small: more threads wait for one another longer than they work, and on a busy
    machine take ten times as long.  PyTorch has threads of its own.
    """
    return _pools().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _pools() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
