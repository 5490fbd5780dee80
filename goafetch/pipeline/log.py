"""reduce.log: what a run was told, a line each, with the time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goafetch.events import Notify

LEVELS = {"warning": logging.WARNING, "refused": logging.WARNING}
FORM = "%(asctime)s %(levelname)-7s %(message)s"


@contextmanager
def logged(notify: Notify, path: Path) -> Iterator[Notify]:
    """A notify that also writes to a log file, appended to."""
    logger = logging.Logger("goafetch")
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter(FORM, "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)

    def tell(event: str, /, **facts: object) -> None:
        if event == "fault":
            logger.error("%s", facts["trace"])
        elif event not in ("progress", "transfer"):
            logger.log(LEVELS.get(event, logging.INFO), "%s", sentence(event, facts))
        notify(event, **facts)

    try:
        yield tell
    finally:
        handler.close()


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
    elif event == "stage":
        text = f"begin {values.get('name', '')}"
    else:
        text = " ".join([event, *values.values()])
    return " ".join(text.split())
