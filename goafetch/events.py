"""What the library tells while it works; only the console turns it into text on a screen."""

from __future__ import annotations

from typing import Protocol


class Notify(Protocol):
    """A callable that is told what happens: the event's name, and its facts by name.

    Events in use: ``plan`` (groups: a row each), ``stage`` (name, total), ``step`` of a recipe, in a stage or
    by itself (name, total), ``progress`` (name, done, total, bytes), ``decision`` (what, reason), ``made``
    (path), ``reused`` (path), ``refused`` (name, reason), ``warning`` (text), ``info`` (text), ``transfer``
    (name, done, total: bytes of one file on its way), ``retry`` (path, reason, attempt), ``wait`` (seconds
    left, total: the archive's own wish, told every second until none are left), ``fault`` (trace),
    ``done`` (name). Any of them may name the ``group`` that it is about, since stages work side by side.
    """

    def __call__(self, event: str, /, **facts: object) -> None: ...


def silent(event: str, /, **facts: object) -> None:
    """Tell nobody."""
