"""A listener that remembers what it is told."""

from __future__ import annotations

from typing import Any


class Told(list[tuple[str, dict[str, Any]]]):
    """Events with their facts, in order."""

    def __call__(self, event: str, /, **facts: object) -> None:
        self.append((event, facts))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The facts of one kind of event."""
        return [facts for event, facts in self if event == kind]
