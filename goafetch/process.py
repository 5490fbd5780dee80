"""What a process sets for itself: how Ctrl-C ends it, and how it keeps to little memory."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import FrameType

#: What a shell gets; this module is the first to be imported, and imports nothing that takes time.
CODE = 130


def leave_at_once() -> None:
    """Let Ctrl-C end this process from now on, unless it was begun deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def raise_errors() -> None:
    """Let Ctrl-C be an error that a command tells in words from now on."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"\ninterrupted\n")
    os._exit(CODE)


#: Bytes that a process may have before what it freed is given back: to get them anew costs time.
KEPT = 340_000_000
#: Objects between looks for those that only refer to each other, and how many looks make a thorough one: all
#: else is freed as soon as nobody has it. Python's own (700, 10, 10) cost each process of a run 0.6-0.9 s.
LOOKS = (5000, 20, 10)


def collect_rarely() -> None:
    """Look for objects that only refer to each other less often, and not at all as the process ends."""
    gc.set_threshold(*LOOKS)
    atexit.register(gc.freeze)


def trim_memory() -> None:
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
    import ctypes

    return getattr(ctypes.CDLL(None), "malloc_trim", None)
