"""Where files lie until they are whole and verified: a hidden folder, held by one process at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from goafetch.errors import WorkspaceError

NAME = ".incoming"
_LOCK = "lock"


@contextmanager
def incoming(folder: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """Hold the hidden folder beside the final names; leftovers of a broken run, but for ``keep``, go.

    It disappears at the end unless something worth keeping for the next run is in it.
    """
    from filelock import FileLock, Timeout

    place = folder / NAME
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise WorkspaceError(
            f"another process is fetching or unpacking into {folder}", "one at a time", "wait for it to end"
        ) from error
    try:
        for leftover in place.iterdir():
            if leftover.name != _LOCK and leftover.name not in keep:
                leftover.unlink()
        yield place
    finally:
        _leave(place)
        lock.release()


def _leave(place: Path) -> None:
    if all(entry.name == _LOCK for entry in place.iterdir()):
        (place / _LOCK).unlink(missing_ok=True)
        place.rmdir()
