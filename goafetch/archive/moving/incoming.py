"""Where files lie until they are whole and verified: a hidden folder, held by one process at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from goafetch.errors import WorkspaceError
from goafetch.locks import Busy, exclusive

NAME = ".incoming"
_LOCK = "lock"
#: What network file systems call a file that was removed while it was open.
_REMOVED = ".nfs"


@contextmanager
def incoming(folder: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """Hold the hidden folder beside the final names; leftovers of a broken run, but for ``keep``, go.

    It disappears at the end unless something worth keeping for the next run is in it.
    """
    place = folder / NAME
    place.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive(place / _LOCK):
            for leftover in _content(place):
                if leftover.name not in keep:
                    leftover.unlink()
            try:
                yield place
            finally:
                if not _content(place):
                    (place / _LOCK).unlink(missing_ok=True)
    except Busy as error:
        raise WorkspaceError(
            f"another process is fetching or unpacking into {folder}", "one at a time", "wait for it to end"
        ) from error
    finally:
        # Only now is the lock's file closed, and gone on network file systems too.
        with suppress(OSError):  # something is in it, or another process has begun
            place.rmdir()


def _content(place: Path) -> list[Path]:
    return [p for p in place.iterdir() if p.name != _LOCK and not p.name.startswith(_REMOVED)]
