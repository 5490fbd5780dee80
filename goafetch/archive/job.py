"""The archive's part of a job, for scripts and commands: search, fetch with calibrations, renew the lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from goafetch.archive.calibrations import Association, associate, find_records
from goafetch.archive.client import ArchiveClient, find_token
from goafetch.archive.cone import Cone, read_cone
from goafetch.archive.download import DEFAULTS, FetchReport, Options, Selection
from goafetch.archive.download import fetch_files as download
from goafetch.archive.lock import Lock, LockedFile, lock_differences, renewed
from goafetch.archive.query import Criteria, dated
from goafetch.archive.records import Record
from goafetch.archive.search import SearchResult, nothing_found
from goafetch.archive.search import search_archive as ask
from goafetch.config import Settings, load_settings
from goafetch.errors import UsageError
from goafetch.events import Notify, Warned, silent
from goafetch.workspace import Verified, Workspace

#: The role of a file that was searched for; calibrations have the archive's name of their type.
SEARCHED = "search"


@dataclass(frozen=True)
class FetchResult:
    """What a fetch came to; ``differences``: what the archive has otherwise than the lock, by name."""

    report: FetchReport
    selection: Selection
    differences: list[tuple[str, str]] = field(default_factory=list)


def search(
    program: str | None = None,
    *,
    date: str | None = None,
    night: str | None = None,
    object: str | None = None,
    filter: str | None = None,
    observation_class: str | None = None,
    observation_type: str | None = None,
    instrument: str | None = None,
    qa: str | None = None,
    near: Cone | tuple[str, str] | None = None,
    archive: str | None = None,
    token: str | None = None,
    notify: Notify = silent,
) -> SearchResult:
    """Search the archive.

    Parameters
    ----------
    program : str, optional
        A program, observation or data label.
    date, night : str, optional
        UTC 'YYYYMMDD' or 'YYYYMMDD-YYYYMMDD'; the date in file names.
    object, filter : str, optional
        ``*`` at either end of an object's name stands for anything.
    observation_class, observation_type, instrument, qa : str, optional
        The archive's words: 'science', 'OBJECT', 'GSAOI', 'NotFail'.
    near : Cone or (str, str), optional
        A circle on the sky, also as ('RA DEC', radius): degrees or sexagesimal, arcsec or '3m'.
    archive, token : str, optional
        The archive's address; the token of a session there.
    notify : callable
        Is given events (see ``goafetch.events``).

    Returns
    -------
    SearchResult
        Records, and what is to be said of them.

    Raises
    ------
    UsageError
        For a word that is not understood, before anything is sent.
    ArchiveError
        Where the archive cannot be reached, or refuses.

    Examples
    --------
    >>> search("GS-2017A-Q-29", date="20170504-20170505", filter="Kshort").to_table()  # doctest: +SKIP
    """
    client = connect(load_settings(archive=archive, token=token), notify)
    criteria = {
        "date": date,
        "night": night,
        "object": object,
        "filter": filter,
        "observation_class": observation_class,
        "observation_type": observation_type,
        "instrument": instrument,
        "qa": qa,
        "near": near,
    }
    return ask(client, make_criteria(program, **criteria))


def fetch(
    program: str | None = None,
    *,
    date: str | None = None,
    night: str | None = None,
    object: str | None = None,
    filter: str | None = None,
    observation_class: str | None = None,
    observation_type: str | None = None,
    instrument: str | None = None,
    qa: str | None = None,
    near: Cone | tuple[str, str] | None = None,
    into: Path | str | None = None,
    locked: bool = False,
    archive: str | None = None,
    token: str | None = None,
    connections: int | None = None,
    workers: int | None = None,
    options: Options | None = None,
    notify: Notify = silent,
) -> FetchResult:
    """Fetch what a search finds, with calibrations.

    Without anything to search for, the query of the workspace's lock is asked again.

    Parameters
    ----------
    program, date, night, object, filter, observation_class, observation_type, instrument, qa, near
        What is sought, as for ``search``.
    into : Path or str, optional
        The workspace; by default the program's name.
    locked : bool
        Fetch the versions of the workspace's lock.
    archive, token : str, optional
        The archive's address; the token of a session there.
    connections, workers : int, optional
        Files fetched at a time; processes that unpack.
    options : Options, optional
        Whether calibrations come too, files are unpacked, and more.
    notify : callable
        Is given events (see ``goafetch.events``).

    Returns
    -------
    FetchResult
        What was done with each file, what was selected and why.

    Raises
    ------
    UsageError, NothingFound, ArchiveError
        For what cannot be meant, is not there, or cannot be had.
    """
    criteria = {
        "date": date,
        "night": night,
        "object": object,
        "filter": filter,
        "observation_class": observation_class,
        "observation_type": observation_type,
        "instrument": instrument,
        "qa": qa,
        "near": near,
    }
    workspace = Workspace(Path(into or (program or "").strip().upper() or "."))
    lock = None if _asks(program, criteria) else Lock.read(workspace.lock_file)
    place = archive or (lock.archive if lock else None)
    settings = load_settings(
        workspace.root, archive=place, token=token, connections=connections, workers=workers
    )
    options = replace(options or DEFAULTS, connections=settings.connections, workers=settings.workers)
    if locked:
        return fetch_locked(connect(settings, notify), workspace, options, notify)
    sought = lock.criteria if lock else make_criteria(program, **criteria)
    return fetch_criteria(connect(settings, notify), workspace, sought, options, notify)


def connect(settings: Settings, notify: Notify = silent) -> ArchiveClient:
    """A client for the archive of the settings, with the token that belongs to it."""
    return ArchiveClient(settings.archive, find_token(settings.archive, settings.token), notify)


def make_criteria(program: str | None, **given: Any) -> Criteria:
    """Criteria from what was typed, None meaning nothing. Raises UsageError if nothing was asked for."""
    known = {name: value for name, value in given.items() if value is not None}
    if not _asks(program, given):
        raise UsageError(
            "nothing was asked for", "a program, or at least one option", "goafetch search --help"
        )
    if isinstance(known.get("near"), tuple):
        known["near"] = read_cone(*known["near"])
    return Criteria(program=program, **known)


def _asks(program: str | None, given: Mapping[str, Any]) -> bool:
    """Whether there is anything to search for: an instrument or a QA state alone is not."""
    known = {name for name, value in given.items() if value is not None}
    return program is not None or bool(known - {"instrument", "qa"})


def select_files(client: ArchiveClient, criteria: Criteria, *, calibrations: bool = True) -> Selection:
    """Search, and associate calibrations with the science found. Raises NothingFound for an empty result."""
    found = ask(client, criteria)
    if not found.records:
        raise nothing_found(client, found.query)
    linked = associate(client, found.records) if calibrations else Association([])
    sought = {record.name for record in found.records}
    added = [record for record in linked.files if record.name not in sought]
    # Calibrations first: the reduction begins with the flats while the science is still on its way.
    records = [*added, *found.records]
    roles = {record.name: linked.kinds.get(record.name, SEARCHED) for record in records}
    warnings = found.warnings + linked.warnings
    return Selection(records, roles, str(found.query), linked, warnings, found.unseen)


def fetch_criteria(
    client: ArchiveClient,
    workspace: Workspace,
    criteria: Criteria,
    options: Options = DEFAULTS,
    notify: Notify = silent,
) -> FetchResult:
    """Fill ``workspace.playdata`` with what answers the criteria and its calibrations; renew the lock."""
    criteria = dated(criteria, client.now)
    old = Lock.read(workspace.lock_file)
    selection = select_files(client, criteria, calibrations=options.calibrations)
    for text in selection.warnings:
        notify(Warned(text))
    now = [*selection.records, *_fallen_out(client, old, selection.records)] if old else []
    changed = lock_differences(old, now) if old else []
    options.on_selection(selection)
    if not options.dry_run:
        workspace.make()
    locked = old.versions if old else {}
    report = download(client, selection.records, workspace.playdata, options, notify, locked=locked)
    report.failed += [
        (name, "the archive counts it among the answers, but does not list it") for name in selection.unseen
    ]
    if not options.dry_run:
        got = [name for name, _ in report.done]
        selection.records[:] = [report.renewed.get(record.name, record) for record in selection.records]
        got += [n for n, _ in report.present if options.update or old is None or n not in old.files]
        roles = [(record, selection.roles[record.name]) for record in selection.records]
        renewed(old, client.base_url, criteria, roles, got).write(workspace.lock_file)
    return FetchResult(report, selection, changed)


def _fallen_out(client: ArchiveClient, lock: Lock, records: list[Record]) -> list[Record]:
    """What the archive has now of the lock's files that the same search no longer finds: failed ones, say."""
    found = {record.name for record in records}
    gone = {name: file.data_label for name, file in lock.files.items() if name not in found}
    return list(find_records(client, gone).values())


def fetch_locked(
    client: ArchiveClient, workspace: Workspace, options: Options = DEFAULTS, notify: Notify = silent
) -> FetchResult:
    """Fetch exactly the versions of the lock; what the archive no longer has so is named and not fetched."""
    lock = Lock.read(workspace.lock_file)
    if lock is None:
        raise UsageError(
            f"there is no {workspace.lock_file}",
            "the lock of an earlier fetch",
            "fetch without --locked first",
        )
    known = find_records(client, {name: file.data_label for name, file in lock.files.items()})
    same = [known[n] for n, f in lock.files.items() if n in known and known[n].data_md5 == f.data_md5]
    if not options.dry_run:
        workspace.make()
    locked = lock.versions
    report = download(client, same, workspace.playdata, options, notify, locked=locked, exactly=True)
    verified = Verified(workspace.verified)
    for name in sorted(set(lock.files) - {record.name for record in same}):
        path = workspace.playdata / name
        if path.is_file() and verified.md5(path) == lock.files[name].data_md5:
            report.present.append((name, "already there in the locked version"))
        else:
            report.failed.append((name, _lost(lock.files[name], known.get(name))))
    roles = {name: file.role for name, file in lock.files.items()}
    selection = Selection(same, roles, "the versions of goafetch.lock", Association([]))
    return FetchResult(report, selection, lock_differences(lock, list(known.values())))


def _lost(file: LockedFile, now: Record | None) -> str:
    if now is None:
        return "the archive no longer has it"
    return f"the archive has another version now (md5 {now.data_md5}, the lock has {file.data_md5})"
