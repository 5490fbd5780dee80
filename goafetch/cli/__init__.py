"""The command line: each command parses, calls one function, and prints."""

from __future__ import annotations

import os
import sys
from typing import Any

from goafetch.system import leave_at_once


def __getattr__(name: str) -> Any:
    """``app``: all commands, imported when they are asked for."""
    if name == "app":
        from goafetch.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """The console script."""
    leave_at_once()
    from goafetch.console.output import OutputLost, open_missing, silence
    from goafetch.system import collect_rarely

    open_missing()
    # The work is shared out among processes: threads of the linear algebra would only take their cores.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    if not os.environ.get("COLUMNS", "80").strip("0"):
        del os.environ["COLUMNS"]  # of a terminal without a size
    collect_rarely()
    from goafetch.cli.commands import app

    try:
        app()
    except OSError as error:  # of what is written without a command: help, the version
        silence(sys.stdout)
        sys.exit(OutputLost(error).code)
    finally:
        leave_at_once()
