"""The store's file: one readable record a line, never half-made, migrated when it is old."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinydb.storages import Storage

from calstore.errors import REBUILD, DamagedStore

TABLE = "calibrations"
SCHEMA = 2

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
    for step in MIGRATIONS[schema - 1 :]:
        content = step(content)
    return content


def _from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 was TinyDB's own layout; 'filter' and 'date' have since become 'filter_name' and 'when'."""
    new_names = {"filter": "filter_name", "date": "when"}
    records = {
        number: {new_names.get(key, key): value for key, value in record.items()}
        for number, record in content[TABLE].items()
    }
    return {"schema": 2, TABLE: records}


#: The step from schema 1 to 2, from 2 to 3, and so on.
MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_from_schema_1,)
