"""The ways in which the archive, or what came from it, can fail."""

from __future__ import annotations

from goafetch.errors import FAILED, ArchiveError, GoafetchError


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
