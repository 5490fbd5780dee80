"""The calibrations of one project, kept in one file that any number of processes may use at once."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinydb import TinyDB, where
from tinydb.queries import QueryLike
from tinydb.table import Table

from calstore.associate import Match, NoMatch, best
from calstore.errors import CalstoreError, NoStore, NotInStore
from calstore.record import Calibration, Need
from calstore.storage import TABLE, AtomicStorage, locked

Renewal = tuple[Mapping[Any, Any] | Callable[[MutableMapping[Any, Any]], None], QueryLike]

LONGEST_WAIT = 120  # seconds for another process to finish


class CalStore:
    """A store in the file ``path`` (usually ``calibrations/calstore.json``).

    Paths of calibrations at or below the store's folder are kept relative to it, so that a project can be
    moved; all others are kept absolute. What ``add`` and ``remove`` have returned is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = _settled(Path(path))

    @property
    def exists(self) -> bool:
        """Whether the store has been made."""
        return self.path.exists()

    def init(self, *, wipe: bool = False) -> bool:
        """Make the store; an existing one is kept unless ``wipe``. True if an empty one was made."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock():
            if self.exists and not wipe:
                return False
            AtomicStorage(self.path).write({})
            return True

    def add(self, *calibrations: Calibration) -> list[Calibration]:
        """Add files by path, replacing what was known of them; the records as they are now kept.

        The SHA-256 of each file is taken now if the calibration does not bring it.
        """
        kept = [self._relative(self._hashed(calibration)) for calibration in calibrations]
        with self._table() as table:
            known = {record["path"] for record in table}
            renewed: list[Renewal] = [
                (_replacing(c), where("path") == c.path) for c in kept if c.path in known
            ]
            if renewed:
                table.update_multiple(renewed)
            fresh = [calibration.to_json() for calibration in kept if calibration.path not in known]
            if fresh:
                table.insert_multiple(fresh)
        return [self._absolute(calibration.to_json()) for calibration in kept]

    def remove(self, name: str) -> Calibration:
        """Take a calibration, given by path or file name, out of the store; its file stays.

        NotInStore if it is unknown, or if the name means several.
        """
        with self._table() as table:
            found = [record for record in table if self._is_named(str(record["path"]), name)]
            if len(found) != 1:
                raise _which(name, [str(record["path"]) for record in found], self.path)
            table.remove(doc_ids=[found[0].doc_id])
        return self._absolute(found[0])

    def all(self) -> list[Calibration]:
        """Every calibration, with absolute paths, in the order in which they were added."""
        self._must_exist()
        tables = AtomicStorage(self.path).read() or {}
        folder = str(self.path.parent)
        return [Calibration.from_json(record, folder) for record in tables.get(TABLE, {}).values()]

    def match(self, need: Need) -> Match | NoMatch:
        """The calibration that fits best and whose file is still what it was when it was added."""
        with _no_search_for_cycles():
            return best(need, self.all(), changed)

    @contextmanager
    def _table(self) -> Iterator[Table]:
        """The table for reading, changing and writing, with all other processes kept waiting."""
        self._must_exist()
        with self._lock(), _opened(self.path) as table:
            yield table

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            with locked(lock, LONGEST_WAIT):
                yield
        except TimeoutError as error:
            raise CalstoreError(
                f"another process has kept {self.path} for {LONGEST_WAIT} s",
                "the store's lock",
                "wait for that process to end, or end it",
            ) from error

    def _must_exist(self) -> None:
        if not self.exists:
            raise NoStore(
                f"there is no calibration store at {self.path}", remedy="make it with `goafetch caldb init`"
            )

    def _hashed(self, calibration: Calibration) -> Calibration:
        if calibration.sha256:
            return calibration
        return replace(calibration, sha256=sha256_of(Path(calibration.path)))

    def _relative(self, calibration: Calibration) -> Calibration:
        path = _settled(Path(calibration.path))
        kept = path.relative_to(self.path.parent) if path.is_relative_to(self.path.parent) else path
        return replace(calibration, path=kept.as_posix())

    def _absolute(self, record: Mapping[str, Any]) -> Calibration:
        return Calibration.from_json(record, str(self.path.parent))

    def _is_named(self, path: str, name: str) -> bool:
        if "/" not in name:
            return Path(path).name == name
        return _settled(Path(name)) == self.path.parent / path


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Spare the garbage collector: tens of thousands of records made at once hold no cycles.

    Looking for some each time a few hundred more exist would take as long as all else together.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _settled(path: Path) -> Path:
    """The absolute path without '..' and without links to folders; a link to a file stays as it is."""
    whole = path.expanduser()
    return whole.parent.resolve() / whole.name


def _replacing(calibration: Calibration) -> Callable[[MutableMapping[Any, Any]], None]:
    """An update that leaves nothing of the former record."""

    def update(record: MutableMapping[Any, Any]) -> None:
        record.clear()
        record.update(calibration.to_json())

    return update


def changed(calibration: Calibration) -> str | None:
    """In words, how a calibration's file is not what it was when it was added; None if it is."""
    path = Path(calibration.path)
    if not path.is_file():
        return f"its file is gone: {path}"
    if sha256_of(path) != calibration.sha256:
        return "its file has changed since it was added; add it again"
    return None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Table]:
    """TinyDB's table without its cache, which would hide what other processes write."""
    with TinyDB(path, storage=AtomicStorage) as database:
        yield database.table(TABLE, cache_size=0)


def _which(name: str, paths: Sequence[str], store: Path) -> NotInStore:
    if not paths:
        return NotInStore(f"{name} is not in {store}", remedy="`goafetch caldb list` shows what is")
    return NotInStore(f"{name} means {len(paths)} files", "one of them", f"give its path: {', '.join(paths)}")
