"""The archive's part of a job from beginning to end: search, associate, fetch, and renew the lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from goafetch.archive.associate import Association, associate
from goafetch.archive.calibrations.calmgr import Listed, look_up
from goafetch.archive.client import ArchiveClient
from goafetch.archive.download import FetchReport, fetch
from goafetch.archive.lock import Lock, LockedFile, differences, renewed
from goafetch.archive.query import Criteria
from goafetch.archive.records import Record
from goafetch.archive.search import nothing_found, search
from goafetch.errors import UsageError
from goafetch.events import Notify, silent
from goafetch.workspace import Workspace

#: The role of a file that was searched for; calibrations have the archive's name of their type.
SOUGHT = "search"


@dataclass(frozen=True)
class Gathered:
    """What is to be fetched: records with their roles, the query that was sent, and what could not be had."""

    records: list[Record]
    roles: dict[str, str]
    query: str
    association: Association
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """How to fetch, as in ``download.fetch``; ``calibrations``: with those that belong to the science."""

    calibrations: bool = True
    dry_run: bool = False
    unpack: bool = True
    update: bool = False
    connections: int = 4
    workers: int = 0
    on_file: Callable[[Path], None] = lambda path: None


@dataclass(frozen=True)
class Brought:
    """What a fetch came to; ``differences``: what the archive has otherwise than the lock, by name."""

    report: FetchReport
    gathered: Gathered
    differences: list[tuple[str, str]] = field(default_factory=list)


def gather(client: ArchiveClient, criteria: Criteria, *, calibrations: bool = True) -> Gathered:
    """Search, and associate calibrations with the science found. Raises NothingFound for an empty result."""
    found = search(client, criteria)
    if not found.records:
        raise nothing_found(client, found.query)
    linked = associate(client, found.records) if calibrations else Association([])
    sought = {record.name for record in found.records}
    added = [record for record in linked.files if record.name not in sought]
    # Calibrations first: the reduction begins with the flats while the science is still on its way.
    records = [*added, *found.records]
    roles = {record.name: linked.kinds.get(record.name, SOUGHT) for record in records}
    return Gathered(records, roles, str(found.query), linked, found.warnings + linked.warnings)


def bring(
    client: ArchiveClient,
    workspace: Workspace,
    criteria: Criteria,
    options: Options = Options(),
    notify: Notify = silent,
) -> Brought:
    """Fill ``workspace.playdata`` with what answers the criteria and its calibrations; renew the lock."""
    old = Lock.read(workspace.lock_file)
    gathered = gather(client, criteria, calibrations=options.calibrations)
    for text in gathered.warnings:
        notify("warning", text=text)
    report = _fetch(client, workspace, gathered.records, options, old, notify)
    if not options.dry_run:
        got = [name for name, _ in report.done]
        got += [n for n, _ in report.present if options.update or old is None or n not in old.files]
        roles = [(record, gathered.roles[record.name]) for record in gathered.records]
        renewed(old, client.base_url, criteria, roles, got).write(workspace.lock_file)
    return Brought(report, gathered, differences(old, gathered.records) if old else [])


def bring_locked(
    client: ArchiveClient, workspace: Workspace, options: Options = Options(), notify: Notify = silent
) -> Brought:
    """Fetch exactly the versions of the lock; what the archive no longer has so is named and not fetched."""
    lock = Lock.read(workspace.lock_file)
    if lock is None:
        raise UsageError(
            f"there is no {workspace.lock_file}",
            "the lock of an earlier fetch",
            "fetch without --locked first",
        )
    known = look_up(client, (Listed(f.name, f.data_label, f.file_md5) for f in lock.files.values()))
    same = [known[n] for n, f in lock.files.items() if n in known and known[n].data_md5 == f.data_md5]
    report = _fetch(client, workspace, same, options, lock, notify)
    verified = workspace.verified()
    for name in sorted(set(lock.files) - {record.name for record in same}):
        path = workspace.playdata / name
        if path.is_file() and verified.md5(path) == lock.files[name].data_md5:
            report.present.append((name, "already there in the locked version"))
        else:
            report.failed.append((name, _lost(lock.files[name], known.get(name))))
    roles = {name: file.role for name, file in lock.files.items()}
    gathered = Gathered(same, roles, "the versions of goafetch.lock", Association([]))
    return Brought(report, gathered, differences(lock, list(known.values())))


def _fetch(
    client: ArchiveClient,
    workspace: Workspace,
    records: list[Record],
    options: Options,
    lock: Lock | None,
    notify: Notify,
) -> FetchReport:
    if not options.dry_run:
        workspace.make()
    return fetch(
        client,
        records,
        workspace.playdata,
        dry_run=options.dry_run,
        connections=options.connections,
        workers=options.workers,
        unpack=options.unpack,
        update=options.update,
        locked=lock.versions if lock else {},
        verified=workspace.verified(),
        on_file=options.on_file,
        notify=notify,
    )


def _lost(file: LockedFile, now: Record | None) -> str:
    if now is None:
        return "the archive no longer has it"
    return f"the archive has another version now (md5 {now.data_md5}, the lock has {file.data_md5})"
