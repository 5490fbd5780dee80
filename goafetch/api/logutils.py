"""The tutorial's ``logutils``: where a script's reductions write what they do; one log, each message once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from goafetch.errors import UsageError
from goafetch.events import Notify, silent

MODES = ("standard", "quiet", "debug", "verbose", "null")


@dataclass
class _Log:
    """The log of this process: a file, and how much is shown on the terminal."""

    file: Path = Path("reduce.log")
    mode: str = "standard"


_log = _Log()


def config(file_name: str | Path | None = None, mode: str = "standard", **_unused: object) -> None:
    """Choose the log file, and how much the terminal shows.

    ``mode``: 'standard', 'quiet' (errors and refusals alone), 'debug' or 'verbose' (every file), 'null'
    (nothing). Calling it again replaces the former choice, so that nothing is said twice.
    """
    if mode not in MODES:
        raise UsageError(f"there is no log mode {mode!r}", f"one of {', '.join(MODES)}")
    _log.file = Path(file_name) if file_name is not None else Path("reduce.log")
    _log.mode = mode


@contextmanager
def telling() -> Iterator[Notify]:
    """A notify that writes to the log file and shows on the terminal what the mode lets through."""
    from goafetch.console import Terminal
    from goafetch.events import logged

    if _log.mode == "null":
        with logged(silent, _log.file) as tell:
            yield tell
        return
    verbose, quiet = _log.mode in ("debug", "verbose"), _log.mode == "quiet"
    sys.stdout.flush()  # what the script has printed so far stands before what is told now
    with Terminal(verbose=verbose, quiet=quiet) as terminal, logged(terminal, _log.file) as tell:
        yield tell
