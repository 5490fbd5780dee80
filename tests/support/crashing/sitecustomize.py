"""Python's start-up file of a process that is to end at the N-th change of a file below a folder.

CRASH_BELOW: the folder. CRASH_AT: N. CRASH_COUNT: a file in which all processes count together.
"""

from __future__ import annotations

import os
import sys

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def arm(below: str, at: int, count: str) -> None:
    """End this process just before the N-th change, like a power cut for it."""

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            if not isinstance(args[2], int) or not args[2] & WRITING:
                return
        elif event not in CHANGES:
            return
        if not str(args[0]).startswith(below):
            return
        handle = os.open(count, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b".")
        number = os.fstat(handle).st_size
        os.close(handle)
        if number == at:
            os._exit(137)

    sys.addaudithook(hook)


if "CRASH_AT" in os.environ:
    arm(os.environ["CRASH_BELOW"], int(os.environ["CRASH_AT"]), os.environ["CRASH_COUNT"])
