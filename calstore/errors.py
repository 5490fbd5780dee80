"""What can go wrong in this package: every error says what was found, what was needed and what to do."""

from __future__ import annotations


class CalstoreError(Exception):
    """The root of this package's errors.

    ``found`` says what is the case, ``needed`` what would have been right, ``remedy`` what the user can do.
    """

    def __init__(self, found: str, needed: str = "", remedy: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.needed = needed
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.found, f"needed: {self.needed}" if self.needed else "", self.remedy]
        return "; ".join(part for part in parts if part)

    def __reduce__(self) -> tuple[type[CalstoreError], tuple[str, str, str]]:
        return type(self), (self.found, self.needed, self.remedy)
