"""Count the functions of the program that `goafetch run FOLDER` passes before the first pixel changes.

Usage: python benchmarks/walk.py FOLDER [--list]; the folder holds raw flats and science frames. The run is
made in a folder of its own, in one process and one stage at a time, and ends where the first counts are
corrected. Class bodies, lambdas and comprehensions do not count; functions within functions do.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections import Counter
from inspect import CO_NEWLOCALS, CO_OPTIMIZED
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = tuple(f"{ROOT / package}{os.sep}" for package in ("goafetch", "reducer", "calstore"))
#: Where the first pixel changes.
LAST = "reducer/detector.py:correct"


def name_of(code):
    """The file and name of a function of the program; None of any other code."""
    if not code.co_filename.startswith(OWN) or code.co_name.startswith("<"):
        return None
    is_function = code.co_flags & CO_NEWLOCALS and code.co_flags & CO_OPTIMIZED
    return f"{code.co_filename.removeprefix(f'{ROOT}{os.sep}')}:{code.co_qualname}" if is_function else None


def walk(folder, into):
    """The functions passed, in order, each with how many of them were under way when it was first called."""
    passed = {}

    def note(frame, event, _):
        name = name_of(frame.f_code) if event == "call" and LAST not in passed else None
        if name and name not in passed:
            passed[name] = 0
            while frame:
                passed[name] += name_of(frame.f_code) is not None
                frame = frame.f_back
            if name == LAST:
                os.write(1, report(passed).encode())
                os._exit(0)

    from goafetch.cli.commands import app
    from goafetch.engine import pool
    from goafetch.pipeline import execute

    execute.SIDE_BY_SIDE = 1
    pool.Pool._open = lambda _: pool._OneThread(1)
    threading.setprofile(note)
    sys.setprofile(note)
    app(["run", folder, "--into", into, "--catalog", "none", "--phot-catalog", "none", "--workers", "1"])


def report(passed):
    """The counts, the deepest function, and each file with its functions if they are asked for."""
    files = Counter(name.partition(":")[0] for name in passed)
    deepest = max(passed, key=passed.get)
    lines = [f"{len(passed)} functions in {len(files)} files, {passed[deepest]} deep ({deepest})"]
    if "--list" in sys.argv:
        lines += [f"{depth:3} {name}" for name, depth in passed.items()]
        lines += [f"{count:3} {file}" for file, count in files.most_common()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as into:
        walk(sys.argv[1], into)
