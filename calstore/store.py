"""The calibrations of one project, kept in one file that any number of processes may use at once."""

from __future__ import annotations

import errno
import fcntl
import gc
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinydb import TinyDB, where
from tinydb.queries import QueryLike
from tinydb.storages import Storage
from tinydb.table import Table

from calstore import REBUILD, CalstoreError, DamagedStore, NoStore, NotInStore
from calstore.associate import Calibration, Match, Need, NoMatch, best

TABLE = "calibrations"
SCHEMA = 3

Tables = dict[str, dict[str, Any]]


class AtomicStorage(Storage):
    """A TinyDB storage whose file is, at any moment, entirely the old one or entirely the new one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Tables | None:
        """The records by table and number, in the present schema; None if there is no file."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedStore(f"{self.path} cannot be read: {error}", "a readable file", REBUILD) from error
        return {TABLE: _migrated(_parsed(text, self.path), self.path)[TABLE]}

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the file, one record a line. The caller holds the lock: what killed writers left goes."""
        for leftover in self.path.parent.glob(f".{self.path.name}.*.part"):
            leftover.unlink()
        records = data.get(TABLE, {}).items()
        lines = ",\n".join(f"  {json.dumps(str(number))}: {json.dumps(record)}" for number, record in records)
        write_atomically(self.path, f'{{"schema": {SCHEMA},\n "{TABLE}": {{\n{lines}\n }}\n}}\n')


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, and be sure that it is on the disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold a lock against other processes; TimeoutError where one keeps it for so long.

    A file system without locks leaves it to the user that one process at a time changes a store.
    """
    until = time.monotonic() + seconds
    with path.open("a+b") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP):
                    break
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() > until:
                    raise TimeoutError(f"{path} is locked") from error
            time.sleep(0.02)
        yield


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DamagedStore(f"{path} is damaged: {error}", "valid JSON", REBUILD) from error
    if not isinstance(content, dict) or not isinstance(content.get(TABLE), dict):
        raise DamagedStore(f"{path} holds no {TABLE}", f"an object with schema and {TABLE}", REBUILD)
    return content


def _migrated(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Bring older content to the present schema, step by step."""
    schema = content.get("schema", 1)
    if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        raise DamagedStore(f"{path} has the schema {schema!r}", f"1 to {SCHEMA}", "use a newer goafetch")
    try:
        for step in MIGRATIONS[schema - 1 :]:
            content = step(content)
    except (AttributeError, TypeError) as error:
        raise DamagedStore(f"{path} is damaged: {error}", "records of calibrations", REBUILD) from error
    return content


def _from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 was TinyDB's own layout; 'filter' and 'date' have since become 'filter_name' and 'when'."""
    new_names = {"filter": "filter_name", "date": "when"}
    records = {
        number: {new_names.get(key, key): value for key, value in record.items()}
        for number, record in content[TABLE].items()
    }
    return {"schema": 2, TABLE: records}


def _from_schema_2(content: dict[str, Any]) -> dict[str, Any]:
    """Up to schema 2 all records were GSAOI's, and one without a region held all of its arrays."""
    known = {"instrument": "GSAOI", "region": [[number, 0, 2048, 0, 2048] for number in (1, 2, 3, 4)]}
    return {"schema": 3, TABLE: {number: known | record for number, record in content[TABLE].items()}}


#: The step from schema 1 to 2, from 2 to 3, and so on.
MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_from_schema_1, _from_schema_2)


Renewal = tuple[Mapping[Any, Any] | Callable[[MutableMapping[Any, Any]], None], QueryLike]

LONGEST_WAIT = 120  # seconds for another process to finish


class CalStore:
    """A store in the file ``path`` (usually ``calibrations/calstore.json``).

    Paths of calibrations at or below the store's folder are kept relative to it, so that a project can be
    moved; all others are kept absolute. What ``add`` and ``remove`` have returned is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = _resolved(Path(path))

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
        hashed = [replace(c, sha256=c.sha256 or sha256_of(Path(c.path))) for c in calibrations]
        kept = [self._relative(calibration) for calibration in hashed]
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
                raise _not_found(name, [str(record["path"]) for record in found], self.path)
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
        with _gc_paused():
            return best(need, self.all(), changed)

    @contextmanager
    def _table(self) -> Iterator[Table]:
        """The table for reading, changing and writing, with all other processes kept waiting."""
        self._must_exist()
        with self._lock(), TinyDB(self.path, storage=AtomicStorage) as database:
            yield database.table(TABLE, cache_size=0)  # a cache would hide what other processes write

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

    def _relative(self, calibration: Calibration) -> Calibration:
        path = _resolved(Path(calibration.path))
        kept = path.relative_to(self.path.parent) if path.is_relative_to(self.path.parent) else path
        return replace(calibration, path=kept.as_posix())

    def _absolute(self, record: Mapping[str, Any]) -> Calibration:
        return Calibration.from_json(record, str(self.path.parent))

    def _is_named(self, path: str, name: str) -> bool:
        if "/" not in name:
            return Path(path).name == name
        return _resolved(Path(name)) == self.path.parent / path


@contextmanager
def _gc_paused() -> Iterator[None]:
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


def _resolved(path: Path) -> Path:
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


def _not_found(name: str, paths: Sequence[str], store: Path) -> NotInStore:
    if not paths:
        return NotInStore(f"{name} is not in {store}", remedy="`goafetch caldb list` shows what is")
    return NotInStore(f"{name} means {len(paths)} files", "one of them", f"give its path: {', '.join(paths)}")
