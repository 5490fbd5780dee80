"""Listeners that remember what they are told, and what steps tell in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from goafetch.events import Event, event_of, words

E = TypeVar("E", bound=Event)


class Told(list[Event]):
    """Events in order."""

    def __call__(self, event: Event, /) -> None:
        self.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self if isinstance(event, kind)]


def in_words(kind: str, /, **facts: Any) -> str:
    """What a step tells as a user reads it, after its level: 'warning S1.fits: ...'."""
    event = event_of(kind, facts)
    return f"{event.kind} {words(event)}"


def warnings_of(told: list[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The names of the facts that were told as warnings."""
    return [kind for kind, facts in told if event_of(kind, facts).kind == "warning"]
