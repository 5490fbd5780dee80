"""The cellar: which calibration fits which exposure, and why the others do not; what can go wrong."""

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


#: What to do about a store that cannot be read; the calibrations themselves are not in it.
REBUILD = "empty it with `goafetch caldb init -w`, then `goafetch caldb add --walk` the folder calibrations/"


class DamagedStore(CalstoreError):
    """The store's file, or a record in it, cannot be understood."""


class NoStore(CalstoreError):
    """There is no store where one was expected."""

    exit_code = 2  # a usage error, for the shell


class NotInStore(CalstoreError):
    """A file that the store does not know, or a name that means several."""
