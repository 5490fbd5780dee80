"""Fetching: decide for every file, then download what is missing, verify and unpack it, account for all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from goafetch.archive.calibrations import Association
from goafetch.archive.client import ArchiveClient
from goafetch.archive.query import Query
from goafetch.archive.records import Record
from goafetch.archive.search import find_records_of
from goafetch.archive.unpack import PARTIAL, Expected, check_disk, decompress, md5_of_part, partial_files
from goafetch.engine.pool import Pool, WorkspacePool
from goafetch.errors import (
    ARCHIVE,
    DONE,
    FAILED,
    Blocked,
    Damaged,
    Elsewhere,
    Gone,
    OtherLength,
    Refused,
    Unreachable,
)
from goafetch.events import (
    Made,
    Notify,
    Progressed,
    Refusal,
    Retry,
    StageBegun,
    StageEnded,
    Transfer,
    Warned,
    silent,
)
from goafetch.workspace import Verified, Workspace

#: present: there and right. unpack: the stored file is there, unpack it. fetch: missing. replace: there, but
#: not right. changed: right as it was fetched, but the archive has another version now. withheld: not
#: allowed. refused: cannot stand beside another file.
Word = Literal["present", "unpack", "fetch", "replace", "changed", "withheld", "refused"]


@dataclass(frozen=True)
class DownloadDecision:
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


def decide_downloads(
    record: Record, local: Local, locked: str | None, *, update: bool, withheld: bool
) -> DownloadDecision:
    """What to do with one file; ``locked``: md5 of the version that was fetched before, if known."""
    needed = record.data_size or record.file_size
    if local.md5 is not None and local.md5 == (record.data_md5 or locked):
        return DownloadDecision(record, "present", "already there, md5 right")
    if local.md5 is not None and local.md5 == locked and not update:
        return DownloadDecision(record, "changed", "the archive has another version now; --update fetches it")
    if withheld:
        return DownloadDecision(record, "withheld", withheld_reason(record))
    if local.stored is not None:
        return DownloadDecision(record, "unpack", "fetched before, not yet unpacked", 0, needed, local.stored)
    if local.md5 is None:
        return DownloadDecision(record, "fetch", "missing", record.file_size, needed)
    why = "changed in the archive" if local.md5 == locked else "there, but its md5 is not the archive's"
    return DownloadDecision(record, "replace", why, record.file_size, needed)


def withheld_reason(record: Record) -> str:
    """Why the archive does not give a file out, and what to do."""
    until = f" until {record.release}" if record.release else " (its release has no date)"
    wait = ", else wait for that day" if record.release else ""
    return f"proprietary{until}; with rights to {record.program_id}: goafetch login{wait}"


def decide_all(
    records: Sequence[Record],
    folder: Path,
    verified: Verified,
    options: Options,
    locked: Mapping[str, str],
    withheld: Callable[[Record], bool],
) -> list[DownloadDecision]:
    """A decision for each record, in their order; of two files with one name only the first can be had."""
    decisions: list[DownloadDecision] = []
    seen: dict[str, Record] = {}
    for record in records:
        first = seen.setdefault(record.name, record)
        if first is not record:
            if first.remote != record.remote:
                decisions.append(
                    DownloadDecision(record, "refused", f"another file of this name: {first.remote}")
                )
            continue
        local = find_local(record, folder, verified)
        version = locked.get(record.name)
        decision = decide_downloads(record, local, version, update=options.update, withheld=withheld(record))
        if decision.word == "unpack" and not options.unpack and decision.stored == folder / record.filename:
            decision = DownloadDecision(record, "present", "already there as it is stored")
        decisions.append(decision)
    return decisions


def find_local(record: Record, folder: Path, verified: Verified) -> Local:
    """What is here of a file. A file of another length needs no md5 to be known as another."""
    path = folder / record.name
    md5 = None
    if path.is_file():
        right_size = record.data_size in (None, path.stat().st_size)
        md5 = verified.md5(path) if right_size else verified.proof(path) or "of another length"
    for place in (folder / record.filename, folder / PARTIAL / record.filename):
        if record.compressed is not False and place.is_file() and place.stat().st_size == record.file_size:
            return Local(md5, place)
    return Local(md5)


Named = list[tuple[str, str]]

#: Files in a row that the archive could not give, after which it counts as unreachable.
PATIENCE = 8


@dataclass(frozen=True)
class Selection:
    """What is to be fetched: records with their roles, the query that was sent, and what could not be had.

    ``unseen``: names that the archive counts among the answers and does not list.
    """

    records: list[Record]
    roles: dict[str, str]
    query: str
    association: Association
    warnings: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """How to fetch: with ``calibrations``, ``unpack`` what comes, ``update`` what changed in the archive.

    ``connections``: files at a time. ``pool``: processes to unpack in, by default ``workers`` of its own.
    ``on_selection`` is told what is coming before the first byte is moved, ``on_file``, from a thread, each
    file that is ready, in the order of the records as far as the network allows.
    """

    calibrations: bool = True
    dry_run: bool = False
    unpack: bool = True
    update: bool = False
    connections: int = 4
    workers: int = 0
    pool: Pool | WorkspacePool | None = None
    verified: Verified | None = None
    on_selection: Callable[[Selection], None] = lambda selection: None
    on_file: Callable[[Path], None] = lambda path: None


DEFAULTS = Options()


@dataclass
class FetchReport:
    """Every file asked for, under one heading: its name and the reason.

    ``done``: fetched (or unpacked) now. ``present``: there before. ``changed``: there, but the archive has
    another version. ``withheld``: not allowed. ``failed``: not to be had. ``renewed``: records of those that
    the archive replaced while they were fetched. ``planned``: the decisions.
    ``bytes``: moved (or, in a dry run, to be moved). ``seconds``: taken. ``unreachable``: the archive was.
    """

    done: Named = field(default_factory=list)
    present: Named = field(default_factory=list)
    changed: Named = field(default_factory=list)
    withheld: Named = field(default_factory=list)
    failed: Named = field(default_factory=list)
    renewed: dict[str, Record] = field(default_factory=dict)
    planned: list[DownloadDecision] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0
    unreachable: bool = False

    @property
    def exit_code(self) -> int:
        """0 if all that was asked for is there; 4 where the archive could not be reached; else 1."""
        if self.unreachable:
            return ARCHIVE
        return FAILED if self.failed or self.withheld else DONE

    @property
    def needed(self) -> int:
        """Bytes of disk that the plan needs."""
        return sum(decision.needed for decision in self.planned)


def fetch_files(
    client: ArchiveClient,
    records: Sequence[Record],
    folder: Path,
    options: Options = DEFAULTS,
    notify: Notify = silent,
    *,
    locked: Mapping[str, str] | None = None,
    exactly: bool = False,
) -> FetchReport:
    """Bring the records' files into ``folder`` as verified FITS files (as stored, without ``unpack``).

    ``locked``: md5 of the version fetched before, by file name; another version in the archive is then left
    there unless ``update``. ``exactly``: a version that the archive replaces meanwhile is not wanted
    otherwise. Raises Blocked, and WorkspaceError where the disk is full.
    """
    verified = options.verified or Verified(Workspace(folder.parent).verified)
    today = client.today()

    def withheld(record: Record) -> bool:
        return record.proprietary(today) and not client.has_token

    decisions = decide_all(records, folder, verified, options, locked or {}, withheld)
    report = FetchReport(planned=decisions, bytes=sum(d.moved for d in decisions))
    _file_decided(report, decisions, notify)
    todo = [d for d in decisions if d.word in ("fetch", "replace", "unpack")]
    if options.dry_run or not todo:
        verified.save()
        return report
    elsewhere = "make room, or choose another folder with --into DIR"
    check_disk(folder, report.needed, f"{report.needed / 1e9:.2f} GB", elsewhere)
    keep = {d.stored.name for d in todo if d.stored is not None}
    started = time.monotonic()
    with (
        partial_files(folder, keep) as partial,
        nullcontext(options.pool) if options.pool else Pool(options.workers, notify) as pool,
    ):
        _Fetch(client, folder, partial, pool, options, exactly, verified, report, notify).run(todo)
    report.seconds = time.monotonic() - started
    return report


def _file_decided(report: FetchReport, decisions: Sequence[DownloadDecision], notify: Notify) -> None:
    """Put what needs no work under its heading."""
    headings = {"refused": report.failed} | {
        word: getattr(report, word) for word in ("present", "changed", "withheld")
    }
    for decision in decisions:
        if decision.word in headings:
            headings[decision.word].append((decision.record.name, decision.reason))
        if decision.word in ("withheld", "refused"):
            notify(Refusal(decision.record.name, decision.reason))


class _Stopped(Exception):
    """The fetch has been given up while this file was on its way."""


@dataclass
class _Fetch:
    """One fetch at work: threads that download files, processes that unpack them."""

    client: ArchiveClient
    folder: Path
    partial: Path
    pool: Pool | WorkspacePool
    options: Options
    exactly: bool
    verified: Verified
    report: FetchReport
    notify: Notify
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    moved: dict[str, int] = field(default_factory=dict)
    failed_in_row: int = 0
    user: str | None = None

    def run(self, todo: Sequence[DownloadDecision]) -> None:
        """Do it all; what was finished when an error or an interrupt comes is kept and remembered."""
        self.notify(StageBegun("fetch", len(todo)))
        connections = max(1, self.options.connections)
        self.slots = threading.Semaphore(connections)
        threads = ThreadPoolExecutor(connections + 2 * self.pool.workers)
        try:
            self.collect({threads.submit(self.get_one, decision): decision for decision in todo})
        except (KeyboardInterrupt, _Stopped):
            # Neither an answer that is slow to come nor what is being unpacked is waited for.
            self.client.abort()
            self.pool.abandon()
            raise
        finally:
            self.stop.set()
            threads.shutdown(wait=True, cancel_futures=True)
            self.report.bytes = sum(self.moved.values())
            self.verified.save()
            self.notify(StageEnded("fetch"))

    def collect(self, futures: dict[Future[None], DownloadDecision]) -> None:
        """Enter each file in the report as it ends."""
        waiting, total = set(futures), len(futures)
        while waiting:
            ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            if self.pool.abandoned:  # what ended then was ended by that, and is no finding
                raise _Stopped
            for future in ended:
                self.enter(futures[future], future)
            done = total - len(waiting)
            self.notify(Progressed("fetch", done, total, sum(self.moved.values())))

    def enter(self, decision: DownloadDecision, future: Future[None]) -> None:
        """Put one file under its heading. Errors that concern the whole fetch are raised."""
        record, report = decision.record, self.report
        try:
            future.result()
        except Refused:
            self.file(report.withheld, record, f"{withheld_reason(record)}{self.why_no_rights()}")
        except Gone:
            self.file(report.failed, record, "the archive lists it but does not have it (404)")
        except (Damaged, OtherLength) as error:
            self.file(report.failed, record, str(error))
        except Unreachable as error:
            self.file(report.failed, record, error.found)
            report.unreachable = True
            self.failed_in_row += 1
            if self.failed_in_row >= PATIENCE:
                self.stop.set()
        except _Stopped:
            self.file(report.failed, record, "not tried: the archive cannot be reached")
        else:
            self.failed_in_row = 0
            newer = report.renewed.get(record.name)
            replaced = f"; the archive replaced it meanwhile, md5 now {newer.data_md5}" if newer else ""
            report.done.append((record.name, decision.reason + replaced))

    def why_no_rights(self) -> str:
        """What to add about the token where a file is refused in spite of it: the archive never says."""
        if not self.client.has_token:
            return ""
        if self.user is None:
            self.user = self.client.whoami() or ""
        if self.user:
            return f" (the archive gives {self.user} no rights to it)"
        return " (the archive does not accept the token that is set)"

    def file(self, heading: Named, record: Record, reason: str) -> None:
        """Name a file that cannot be had."""
        heading.append((record.name, reason))
        self.notify(Refusal(record.name, reason))

    def get_one(self, decision: DownloadDecision) -> None:
        """One file from the archive to its final name; a damaged one is fetched once more.

        One that is not what the archive listed may have been replaced since: then the new version is taken.
        """
        record = decision.record
        try:
            self.finish(record, decision.stored or self.download(record))
        except (Damaged, OtherLength) as error:
            newer = self.newer(record)
            if newer is None:
                self.notify(Retry(record.remote, str(error), 2))
            elif self.exactly:
                raise Damaged("the archive has replaced it by another version", record.file_md5) from error
            else:
                self.notify(Warned(f"{record.name} was replaced in the archive during the fetch"))
            fresh = newer or record
            self.finish(fresh, self.download(fresh))
            if newer:
                self.report.renewed[record.name] = newer

    def newer(self, record: Record) -> Record | None:
        """Another version of the file that the archive lists now, if there is one."""
        found = find_records_of(self.client, Query(filename=record.name, qa="AnyQA")).records
        same_place = [each for each in found if each.path == record.path]
        return next((each for each in same_place if each.file_md5 != record.file_md5), None)

    def download(self, record: Record) -> Path:
        """The stored file in the hidden folder; not verified yet."""
        path = self.partial / record.filename

        def on_bytes(count: int) -> None:
            if self.stop.is_set():
                raise _Stopped
            self.moved[record.name] = count
            self.notify(Transfer(record.name, count, record.file_size))

        with self.slots:
            if self.stop.is_set():
                raise _Stopped
            try:
                self.client.download(record.remote, path, record.file_size, on_bytes)
            except BaseException as error:
                path.unlink(missing_ok=True)  # the archive cannot go on where it left off
                if isinstance(error, (Blocked, Elsewhere)):
                    self.stop.set()  # every further request would only harden the block, or be in vain
                raise
        return path

    def finish(self, record: Record, stored: Path) -> None:
        """Verify, unpack, and only then give the final name. A stored file that is damaged is removed."""
        try:
            final = self.unpacked(record, stored) if self.options.unpack else self.kept(record, stored)
        except Damaged:
            stored.unlink(missing_ok=True)
            raise
        self.notify(Made(final))
        self.options.on_file(final)

    def unpacked(self, record: Record, stored: Path) -> Path:
        """The FITS file under its final name; the stored one is not kept."""
        # Named by this process: a worker of one that was killed may still be writing for an instant.
        target, final = self.partial / f"{record.name}.{os.getpid()}", self.folder / record.name
        wanted = Expected(record.file_md5, record.data_md5, record.data_size)
        result = self.pool.submit(decompress, str(stored), str(target), wanted).result()
        with self.lock:
            target.replace(final)
            self.verified.remember(final, result.data_md5)
        stored.unlink()
        return final

    def kept(self, record: Record, stored: Path) -> Path:
        """The stored file itself under its final name."""
        found = self.pool.submit(md5_of_part, str(stored)).result()
        if found != record.file_md5:
            raise Damaged(f"the stored file has md5 {found}", record.file_md5)
        return stored.replace(self.folder / record.filename)
