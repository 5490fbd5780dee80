"""The roof's errors, and the one function that turns any error of the house into words and an exit code."""

from __future__ import annotations

import os
from dataclasses import dataclass

KEPT = "everything finished so far is kept; run the same command again"
DONE, FAILED, USAGE, NOTHING, ARCHIVE, INTERRUPTED = 0, 1, 2, 3, 4, 130


class GoafetchError(Exception):
    """The root of the roof's errors: what was ``found``, what was ``needed``, and the ``remedy``."""

    exit_code = FAILED

    def __init__(self, found: str, needed: str = "", remedy: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.needed = needed
        self.remedy = remedy

    def __str__(self) -> str:
        return str(Failure(self.exit_code, self.found, self.needed, self.remedy))

    def __reduce__(self) -> tuple[type[GoafetchError], tuple[str, str, str]]:
        return type(self), (self.found, self.needed, self.remedy)


class UsageError(GoafetchError):
    """What was typed cannot be meant."""

    exit_code = USAGE


class NothingFound(GoafetchError):
    """Nothing matched what was asked for."""

    exit_code = NOTHING


class ArchiveError(GoafetchError):
    """The archive refused, blocked or could not be reached."""

    exit_code = ARCHIVE


class WorkspaceError(GoafetchError):
    """The folder that the work happens in cannot be used."""


@dataclass(frozen=True)
class Failure:
    """An error in words, ready to be shown."""

    exit_code: int
    found: str
    needed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = [self.found, f"needed: {self.needed}" if self.needed else "", self.remedy]
        return "; ".join(part for part in parts if part)


def describe(error: BaseException) -> Failure | None:
    """Turn an error of any of the three packages, or a refusal of the system, into a Failure.

    None for anything unexpected.
    """
    found = getattr(error, "found", None)
    if isinstance(found, str):
        code = getattr(error, "exit_code", FAILED)
        return Failure(code, found, getattr(error, "needed", ""), getattr(error, "remedy", ""))
    if isinstance(error, MemoryError):
        return Failure(FAILED, "there is not enough memory", "", f"use fewer --workers; {KEPT}")
    if isinstance(error, OSError) and error.errno is not None:
        # No space, no permission: nobody's bug.
        where = f": {error.filename}" if error.filename is not None else ""
        remedy = f"{KEPT} when this is put right"
        return Failure(FAILED, f"{error.strerror or os.strerror(error.errno)}{where}", "", remedy)
    return None
