"""Ctrl-C before a command has begun and after it has ended: an exit code and no traceback."""

from __future__ import annotations

import os
import signal
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
