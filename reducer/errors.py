"""What can go wrong in this package: every error says what was found, what was needed and what to do."""

from __future__ import annotations

from reducer.types import Reason


class ReducerError(Exception):
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

    @property
    def reason(self) -> Reason:
        """Why a frame is left out for it, with the remedy apart: that of many frames is told once."""
        found = "; ".join(filter(None, (self.found, self.needed and f"needed: {self.needed}")))
        return {"reason": found, "remedy": self.remedy} if self.remedy else {"reason": found}

    def __reduce__(self) -> tuple[type[ReducerError], tuple[str, str, str]]:
        return type(self), (self.found, self.needed, self.remedy)


class BadFile(ReducerError):
    """A file that cannot be read as what it claims to be."""


class BadParameter(ReducerError):
    """An unknown step or parameter, or a value that it cannot take."""

    exit_code = 2  # a usage error, for the shell


class BadInput(ReducerError):
    """Frames that do not belong together, or that a recipe cannot use."""


class MissingCalibration(ReducerError):
    """A step that cannot go on without a calibration."""


class CannotAlign(ReducerError):
    """Exposures that no trustworthy solution brings together."""
