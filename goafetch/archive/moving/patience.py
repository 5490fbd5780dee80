"""How long to wait for the archive, and what to do when it says itself when to come again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from goafetch.archive.errors import Unreachable
from goafetch.events import Notify


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again.

    ``attempts`` in all, with pauses of ``pause`` seconds doubled each time. Seconds to ``connect``, and as
    many again until the connection is encrypted; between two bytes of an ``answer`` (the archive writes
    long lists slowly) and of a ``file``; within as many the head of either must be whole. A file that comes
    slower than ``slowest`` bytes per second over ``window`` seconds counts as stalled, an answer that does
    so over ``answer`` seconds. Where the archive says when to come again it is obeyed, for ``longest``
    seconds in all for one answer.
    """

    attempts: int = 5
    pause: float = 0.5
    connect: float = 10.0
    answer: float = 180.0
    file: float = 60.0
    window: float = 30.0
    slowest: float = 1000.0
    longest: float = 600.0


class Passing(Exception):
    """A fault that may be gone at the next attempt."""


class Later(Exception):
    """The archive asks to be left alone for so many ``seconds``."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(f"status {status}")
        self.seconds = seconds


def date_of(text: str | None) -> datetime | None:
    """The moment that an HTTP header names (UTC), None where it is none."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found and found.tzinfo else None


def seconds_until(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3), None if it does not.

    A moment is compared with the clock of the one who names it.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    moment, now = date_of(text), date_of(headers.get("Date")) or datetime.now(UTC)
    return max(0.0, (moment - now).total_seconds()) if moment else None


class Leave:
    """Keeps all who ask from asking before they may; ``over`` ends every wait."""

    def __init__(self, patience: Patience, over: threading.Event, notify: Notify) -> None:
        self._patience, self._over, self._notify = patience, over, notify
        self._until = 0.0
        self._lock = threading.Lock()

    def grant(self, later: Later, path: str, waits: int, since: float) -> None:
        """Note how long the archive wants to be left alone, and count it down once, whoever is told.

        ``waits``: how often that was told before for this answer, the first time at ``since`` (seconds of the
        monotonic clock). Raises Unreachable where it is longer than our patience.
        """
        seconds = max(later.seconds, self._patience.pause * 2**waits)
        until = time.monotonic() + seconds
        if until - since > self._patience.longest:
            raise Unreachable(
                f"the archive wants to be left alone for {_length(seconds)} ({later})",
                f"an answer within {_length(self._patience.longest)}",
                f"run the same command again in {_length(seconds)}; what has been fetched is kept",
            )
        with self._lock:
            known, self._until = self._until, max(self._until, until)
        if until > known + 1.0:
            text = f"the archive asks us to wait {_length(seconds)} before /{path[:200]} ({later})"
            self._notify("warning", text=text)
            self._count_down(until, seconds)
        self.wait()

    def wait(self) -> None:
        """Wait until one may ask."""
        while (left := self._until - time.monotonic()) > 0 and not self._over.is_set():
            self._over.wait(left)

    def _count_down(self, until: float, total: float) -> None:
        while (left := until - time.monotonic()) > 0 and not self._over.is_set():
            self._notify("wait", seconds=math.ceil(left), total=math.ceil(total))
            self._over.wait(min(1.0, left))
        self._notify("wait", seconds=0, total=math.ceil(total))


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
