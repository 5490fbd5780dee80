"""reduce.log and events.jsonl: what a run was told, a line each, with the time, for people and machines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO

from goafetch.events import (
    Event,
    Fault,
    Notify,
    Progressed,
    Refusal,
    Retry,
    StageBegun,
    StageEnded,
    Transfer,
    Wait,
    Warned,
    as_document,
)
from goafetch.words import about, words

LEVELS = {Warned: "WARNING", Refusal: "WARNING", Retry: "WARNING", Fault: "ERROR"}
#: Events that come many times: no line of reduce.log; bytes on their way and seconds of waiting no event.
FREQUENT, TOO_FREQUENT = (Progressed, Transfer, Wait), (Transfer, Wait)


class _Lines:
    """A file that lines are appended to, each written at once; made with the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def write(self, line: str) -> None:
        """Append a line."""
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        self._file.write(f"{line}\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


@contextmanager
def logged(notify: Notify, path: Path, events: Path | None = None) -> Iterator[Notify]:
    """A notify that also appends to a log file and, as JSON, to ``events``; each line is written at once.

    A file is made with its first line: where nothing was done there is none. May be called from several
    threads.
    """
    lock = threading.Lock()
    with ExitStack() as stack:
        log = stack.enter_context(_Lines(path))
        record = stack.enter_context(_Lines(events)) if events else None

        def tell(event: Event, /) -> None:
            now = datetime.now(UTC)
            with lock:
                if not isinstance(event, FREQUENT):
                    log.write(f"{now:%Y-%m-%d %H:%M:%S} {LEVELS.get(type(event), 'INFO'):7} {_line(event)}")
                if record and not isinstance(event, TOO_FREQUENT):
                    document = {"time": now.isoformat(timespec="milliseconds"), **as_document(event)}
                    record.write(json.dumps(document, default=str))
            notify(event)

        yield tell


def _line(event: Event) -> str:
    """An event in words, on one line, after the group that it is about; a traceback as it is."""
    if isinstance(event, Fault):
        return words(event)
    named = isinstance(event, StageBegun | StageEnded) or not about(event)
    return " ".join((words(event) if named else f"[{about(event)}] {words(event)}").split())
