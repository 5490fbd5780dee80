"""reduce.log and events.jsonl: what a run was told, a line each, with the time, for people and machines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO, cast

from goafetch.events import Notify

LEVELS = {"warning": "WARNING", "refused": "WARNING", "retry": "WARNING", "fault": "ERROR"}
#: Events that come many times: no line of reduce.log; bytes on their way and seconds of waiting no event.
FREQUENT, TOO_FREQUENT = ("progress", "transfer", "wait"), ("transfer", "wait")


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

        def tell(event: str, /, **facts: object) -> None:
            now = datetime.now(UTC)
            with lock:
                if event not in FREQUENT:
                    text = str(facts["trace"]) if event == "fault" else sentence(event, facts)
                    log.write(f"{now:%Y-%m-%d %H:%M:%S} {LEVELS.get(event, 'INFO'):7} {text}")
                if record and event not in TOO_FREQUENT:
                    document = {"time": now.isoformat(timespec="milliseconds"), "event": event, **facts}
                    record.write(json.dumps(document, default=str))
            notify(event, **facts)

        yield tell


def sentence(event: str, facts: dict[str, object]) -> str:
    """An event in words, on one line, after the group that it is about."""
    about = facts.get("group") if event not in ("stage", "done") else None
    if about:
        rest = {key: value for key, value in facts.items() if key != "group"}
        return f"[{about}] {sentence(event, rest)}"
    values = {key: str(value) for key, value in facts.items() if value not in (None, "")}
    if event == "decision":
        text = ": ".join(values[key] for key in ("what", "reason") if key in values)
    elif event == "refused":
        text = f"left out {values.get('name', '?')}: {values.get('reason', '')}"
    elif event in ("warning", "info"):
        text = values.get("text", "")
    elif event == "plan":
        rows = cast("list[dict[str, object]]", facts["groups"])
        text = "plan: " + "; ".join(f"{row['group']}, {row['frames']} frames" for row in rows)
    elif event in ("stage", "step"):
        text = f"begin {values.get('name', '')}"
    elif event == "done":
        text = f"done {values.get('name', '')}"
    else:
        text = " ".join([event, *values.values()])
    return " ".join(text.split())
