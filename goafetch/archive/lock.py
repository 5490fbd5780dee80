"""goafetch.lock: the query and the exact versions of all files that a workspace was filled with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goafetch.archive.cone import Cone
from goafetch.archive.query import Criteria
from goafetch.archive.records import Record
from goafetch.errors import WorkspaceError
from goafetch.workspace import write_atomically

VERSION = 1


@dataclass(frozen=True)
class LockedFile:
    """One version of a file as the archive listed it (md5s in hex, sizes in bytes), and its ``role`` here."""

    name: str
    filename: str
    path: str
    data_md5: str
    file_md5: str
    data_size: int
    file_size: int
    lastmod: str
    qa_state: str
    data_label: str
    role: str
    standards: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, record: Record, role: str) -> LockedFile:
        """The version that a record describes."""
        return cls(
            name=record.name,
            filename=record.filename,
            path=record.path,
            data_md5=record.data_md5 or "",
            file_md5=record.file_md5,
            data_size=record.data_size or 0,
            file_size=record.file_size,
            lastmod=record.lastmod.isoformat() if record.lastmod else "",
            qa_state=record.qa_state or "",
            data_label=record.data_label or "",
            role=role,
            standards=record.phot_standards or (),
        )


@dataclass(frozen=True)
class Lock:
    """What was asked of which archive, and the versions that came, by file name."""

    archive: str
    criteria: Criteria
    files: dict[str, LockedFile] = field(default_factory=dict)
    made: str = ""

    @property
    def versions(self) -> dict[str, str]:
        """md5 of the FITS file by name: what the fetch holds files against."""
        return {name: file.data_md5 for name, file in self.files.items() if file.data_md5}

    @classmethod
    def read(cls, path: Path) -> Lock | None:
        """The lock in a file; None if there is no file. Raises WorkspaceError for one that is damaged."""
        try:
            known = json.loads(path.read_text())
            files = [_locked_file(entry) for entry in known["files"]]
            near = known["query"].get("near")
            criteria = Criteria(**{**known["query"], "near": Cone(**near) if near else None})
            return cls(known["archive"], criteria, {f.name: f for f in files}, known["made"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{path} is damaged ({error})",
                "a lock that goafetch wrote",
                "remove it; the next fetch writes it anew",
            ) from error

    def write(self, path: Path) -> None:
        """Write it whole or not at all; unchanged versions leave the file as it is."""
        before = Lock.read(path) if path.exists() else None
        if before and replace(before, made=self.made) == self:
            return
        document = {
            "version": VERSION,
            "archive": self.archive,
            "query": asdict(self.criteria),
            "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "files": [asdict(self.files[name]) for name in sorted(self.files)],
        }
        write_atomically(path, json.dumps(document, indent=1) + "\n")


def renewed(
    old: Lock | None,
    archive: str,
    criteria: Criteria,
    records: Iterable[tuple[Record, str]],
    got: Iterable[str],
) -> Lock:
    """The lock after a fetch: new versions of the names that were ``got``, old ones of all others.

    ``records``: with the role of each (the archive's type of calibration, or 'search').
    """
    names = set(got)
    files = dict(old.files) if old else {}
    files |= {record.name: LockedFile.of(record, role) for record, role in records if record.name in names}
    return Lock(archive, criteria, files)


def lock_differences(old: Lock, records: Sequence[Record]) -> list[tuple[str, str]]:
    """What the archive has otherwise than the lock: names, and in which respect."""
    found = []
    by_name = {record.name: record for record in records}
    for name, file in sorted(old.files.items()):
        if name not in by_name:
            found.append((name, "no longer found"))
        elif changes := _changes(file, LockedFile.of(by_name[name], file.role)):
            found.append((name, changes))
    return found + [(name, "new in the archive") for name in sorted(set(by_name) - set(old.files))]


def _changes(old: LockedFile, new: LockedFile) -> str:
    parts = []
    if old.qa_state != new.qa_state:
        parts.append(f"QA state {old.qa_state or 'none'} became {new.qa_state or 'none'}")
    if old.data_md5 != new.data_md5:
        parts.append(
            f"new content (md5 {old.data_md5[:8]} became {new.data_md5[:8]}, modified {new.lastmod})"
        )
    elif old.file_md5 != new.file_md5:
        parts.append("stored anew with the same content")
    return "; ".join(parts)


def _locked_file(entry: Any) -> LockedFile:
    plain = [f for f in fields(LockedFile) if f.name != "standards"]
    values = {f.name: _typed(entry[f.name], int if f.type == "int" else str) for f in plain}
    return LockedFile(**values, standards=tuple(_typed(star, dict) for star in entry.get("standards", ())))


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value
