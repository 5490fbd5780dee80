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


class Unreachable(ArchiveError):
    """No answer, or none that could be used, after every attempt."""


class Blocked(ArchiveError):
    """The archive takes this machine for a robot and wants a login (403 'Login Required')."""

    def __init__(self) -> None:
        super().__init__(
            "the archive refuses anonymous requests from this network ('Login Required')",
            "a login: the archive blocks address ranges from which robots came",
            "log in at https://archive.gemini.edu/login (ORCID will do), copy the session token shown there, "
            "give it to `goafetch login`, and run this again",
        )

    def __reduce__(self) -> tuple[type[Blocked], tuple[()]]:  # type: ignore[override]
        return Blocked, ()


class BadAnswer(ArchiveError):
    """The archive answered what cannot be understood or was not asked for."""


class Refused(ArchiveError):
    """The archive understood the request and refused it (403, 405, 406)."""


class Elsewhere(ArchiveError):
    """Something else answers in the archive's place, or lies on the way to it: nothing is asked again."""


class OtherLength(ArchiveError):
    """The archive sends a file of another length than its list says."""

    exit_code = FAILED


class Withheld(ArchiveError):
    """The archive gives out nothing of what was asked for."""


class Gone(ArchiveError):
    """The archive does not have what its own list named (404)."""

    exit_code = FAILED


class Unsafe(GoafetchError):
    """A file from outside is not what a download from the archive may contain."""


class NoTar(Unsafe):
    """A file is neither a tar nor FITS."""


class Damaged(GoafetchError):
    """A file's content is not what it should be."""


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


def as_failure(error: BaseException) -> Failure | None:
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
