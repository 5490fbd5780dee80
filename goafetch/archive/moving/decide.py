"""Decides for each file, before a byte is moved, what is to be done with it, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from goafetch.archive.moving.incoming import NAME as INCOMING
from goafetch.archive.records import Record
from goafetch.workspace import Verified

#: present: there and right. unpack: the stored file is there, unpack it. fetch: missing. replace: there, but
#: not right. changed: right as it was fetched, but the archive has another version now. withheld: not
#: allowed. refused: cannot stand beside another file.
Word = Literal["present", "unpack", "fetch", "replace", "changed", "withheld", "refused"]


@dataclass(frozen=True)
class Decision:
    """What to do with a file: bytes to be ``moved``, bytes of disk ``needed``, any ``stored`` copy here."""

    record: Record
    word: Word
    reason: str
    moved: int = 0
    needed: int = 0
    stored: Path | None = None


@dataclass(frozen=True)
class Local:
    """What is here of a file: md5 of the FITS file (None: there is none), the whole stored file if any."""

    md5: str | None = None
    stored: Path | None = None


def decide(
    record: Record,
    local: Local,
    *,
    locked: str | None,
    update: bool,
    has_token: bool,
    today: date | None = None,
) -> Decision:
    """What to do with one file.

    ``locked``: md5 of the version that was fetched before, if known. ``today``: the date by the archive's
    clock, by ours unless given.
    """
    needed = record.data_size or record.file_size
    if local.md5 is not None and local.md5 == (record.data_md5 or locked):
        return Decision(record, "present", "already there, md5 right")
    if local.md5 is not None and local.md5 == locked and not update:
        return Decision(record, "changed", "the archive has another version now; --update fetches it")
    if record.proprietary(today) and not has_token:
        return Decision(record, "withheld", withheld_reason(record))
    if local.stored is not None:
        return Decision(record, "unpack", "fetched before, not yet unpacked", 0, needed, local.stored)
    if local.md5 is None:
        return Decision(record, "fetch", "missing", record.file_size, needed)
    why = "changed in the archive" if local.md5 == locked else "there, but its md5 is not the archive's"
    return Decision(record, "replace", why, record.file_size, needed)


def withheld_reason(record: Record) -> str:
    """Why the archive does not give a file out, and what to do."""
    until = f" until {record.release}" if record.release else " (its release has no date)"
    wait = ", else wait for that day" if record.release else ""
    return f"proprietary{until}; with rights to {record.program_id}: goafetch login{wait}"


def plan(
    records: Sequence[Record],
    folder: Path,
    verified: Verified,
    *,
    locked: Mapping[str, str],
    update: bool,
    has_token: bool,
    unpack: bool = True,
    today: date | None = None,
) -> list[Decision]:
    """A decision for each record, in their order; of two files with one name only the first can be had."""
    decisions: list[Decision] = []
    seen: dict[str, Record] = {}
    for record in records:
        first = seen.setdefault(record.name, record)
        if first is not record:
            if first.remote != record.remote:
                decisions.append(Decision(record, "refused", f"another file of this name: {first.remote}"))
            continue
        local = look(record, folder, verified)
        decision = decide(
            record, local, locked=locked.get(record.name), update=update, has_token=has_token, today=today
        )
        if decision.word == "unpack" and not unpack and decision.stored == folder / record.filename:
            decision = Decision(record, "present", "already there as it is stored")
        decisions.append(decision)
    return decisions


def look(record: Record, folder: Path, verified: Verified) -> Local:
    """What is here of a file. A file of another length needs no md5 to be known as another."""
    path = folder / record.name
    md5 = None
    if path.is_file():
        right_size = record.data_size in (None, path.stat().st_size)
        md5 = verified.md5(path) if right_size else verified.proof(path) or "of another length"
    for place in (folder / record.filename, folder / INCOMING / record.filename):
        if record.compressed is not False and place.is_file() and place.stat().st_size == record.file_size:
            return Local(md5, place)
    return Local(md5)
