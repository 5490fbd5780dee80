"""Give freed memory back to the system, where the C library would keep it (glibc)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

#: Bytes that a process may have before what it freed is given back: to get them anew costs time.
KEPT = 280_000_000


def give_back() -> None:
    """Give back what was freed, if the process has become large."""
    if resident() > KEPT and (trim := _trim()) is not None:
        trim(0)


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of glibc; None where the C library is another."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
