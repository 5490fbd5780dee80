"""A listener that remembers what it is told."""

from __future__ import annotations

from typing import TypeVar

from goafetch.events import Event

E = TypeVar("E", bound=Event)


class Told(list[Event]):
    """Events in order."""

    def __call__(self, event: Event, /) -> None:
        self.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self if isinstance(event, kind)]
