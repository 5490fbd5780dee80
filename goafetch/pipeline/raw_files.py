"""A run's raw files: from the archive, with flats made while science arrives, or from a folder, linked."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from calstore.associate import Calibration
from goafetch.archive.job import SEARCHED
from goafetch.archive.query import suggest
from goafetch.config import Settings
from goafetch.engine.pool import WorkspacePool
from goafetch.errors import NothingFound, UsageError, WorkspaceError
from goafetch.events import Decided, Event, Made, Notify, Refusal, Warned, listener, silent
from goafetch.pipeline.execute import noted, with_told
from goafetch.pipeline.stages import MADE, Outcome, Tools, make_master
from goafetch.plan.decide import plan_masters
from goafetch.plan.plan import Group, LeftOut
from goafetch.workspace import Workspace, fits_name
from reducer.errors import ReducerError

if TYPE_CHECKING:
    from goafetch.archive.calibrations import Association
    from goafetch.archive.client import ArchiveClient
    from goafetch.archive.download import FetchReport, Options, Selection
    from goafetch.archive.lock import Lock
    from goafetch.archive.query import Criteria
    from reducer.headers.descriptors import Descriptors


Survey = Callable[[list[Path]], "list[tuple[Path, Descriptors]]"]


@dataclass(frozen=True)
class RawFiles:
    """What a program has: raw files in playdata/, the query that found them, what could not be had."""

    archive: str
    query: str
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]
    report: FetchReport


def fetch_raw_files(
    criteria: Criteria, workspace: Workspace, settings: Settings, notify: Notify, options: Options
) -> RawFiles:
    """Search the archive, associate calibrations, fetch what is not in playdata/ yet, renew the lock.

    Raises Withheld where nothing of the science is given out.
    """
    from goafetch.archive.job import connect, fetch_criteria
    from goafetch.archive.lock import Lock

    client = connect(settings, notify)
    if options.pool is not None:
        options.pool.on_abandon(client.abort)  # a search that waits for an answer in a thread ends too
    before = Lock.read(workspace.lock_file)

    def select_now(selection: Selection) -> None:
        if not client.has_token:
            today = client.today()
            held = [r.name for r in selection.records if r.proprietary(today)]
            _check_withheld(
                selection, [name for name in held if not (workspace.playdata / name).exists()], notify
            )
        options.on_selection(selection)

    chosen = replace(
        options, connections=settings.connections, workers=settings.workers, on_selection=select_now
    )
    result = fetch_criteria(client, workspace, criteria, chosen, notify)
    selection, report = result.selection, result.report
    _check_withheld(selection, [name for name, _ in report.withheld])
    found = sum(role == SEARCHED for role in selection.roles.values())
    tell = listener(notify)
    tell("exposures_found", files=found, program=criteria.program)
    tell("archive_query", query=selection.query)
    _tell(selection.association, notify)
    for name, reason in report.changed:
        notify(Warned(f"{name}: {reason}"))
    missing = [
        LeftOut(workspace.playdata / n, why, failed=True) for n, why in (*report.withheld, *report.failed)
    ]
    for what, why in selection.association.shortcomings:
        notify(Refusal(what, why))
        missing.append(LeftOut(workspace.playdata / what, why, failed=True))
    if before and (before.archive, before.criteria) == (client.base_url, criteria):
        missing += _lost(client, before, selection, workspace, notify)
    files = (workspace.playdata / record.name for record in selection.records)
    present = tuple(file for file in files if file.exists())
    return RawFiles(settings.archive, selection.query, present, tuple(missing), report)


def _check_withheld(selection: Selection, withheld: Sequence[str], notify: Notify = silent) -> None:
    """Raises Withheld, having named each file, if all science is among the files that are withheld."""
    from goafetch.archive.download import withheld_reason
    from goafetch.errors import Withheld

    science = [r for r in selection.records if r.observation_class == "science"]
    if not science or not {record.name for record in science} <= set(withheld):
        return
    for record in science:
        notify(Refusal(record.name, withheld_reason(record)))
    days = sorted({str(record.release) for record in science if record.release})
    until = f": proprietary until {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    count = "the only science file is" if len(science) == 1 else f"all {len(science)} science files are"
    raise Withheld(
        f"{count} withheld{until}",
        f"rights to {', '.join(sorted({str(record.program_id) for record in science}))}",
        "with these goafetch login and the same command again; without them wait for the release date",
    )


def _lost(
    client: ArchiveClient, before: Lock, selection: Selection, workspace: Workspace, notify: Notify
) -> list[LeftOut]:
    """What an earlier run fetched for the same question, and the archive no longer answers it with."""
    from goafetch.archive.calibrations import find_records

    gone = [f for n, f in before.files.items() if f.role == SEARCHED and n not in selection.roles]
    known = find_records(client, {f.name: f.data_label for f in gone}) if gone else {}
    found = []
    for file in gone:
        record, path = known.get(file.name), workspace.playdata / file.name
        if record is not None and record.qa_state == "Fail":
            found.append(LeftOut(path, "its quality was judged Fail at the observatory since it was fetched"))
            continue
        why = (
            "the archive no longer has it"
            if record is None
            else "the archive no longer finds it by this query"
        )
        reason = f"{why}, though an earlier run fetched it; to use what is in {path.parent}, run that folder"
        notify(Refusal(file.name, reason))
        found.append(LeftOut(path, reason, failed=True))
    return found


def _tell(calibrations: Association, notify: Notify) -> None:
    """Say how many calibrations of each kind were taken and why, and what was not."""
    tell = listener(notify)
    for kind in dict.fromkeys(calibrations.kinds.values()):
        names = [name for name, its_kind in calibrations.kinds.items() if its_kind == kind]
        why = dict.fromkeys(calibrations.reasons.get(name, "") for name in names)
        tell("calibrations_found", files=len(names), kind=kind, why="; ".join(filter(None, why)))
    for record, reason in calibrations.rejected:
        tell("calibration_not_fetched", file=record.name, why=reason)


class FlatPrefetch:
    """Waits for the last calibration and makes the master darks and flats then; use it as a context manager.

    Archives send calibrations first, so that the workers have work long before all science is here.
    ``made``: what became of them, by product, once it has ended.
    """

    def __init__(self, tools: Tools, stored: Sequence[Calibration], survey: Survey, notify: Notify) -> None:
        self.tools, self.stored, self.survey, self.notify = tools, stored, survey, notify
        self.made: dict[Path, Outcome] = {}
        self._calibrations: list[Path] = []
        self._missing: set[str] = set()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[dict[Path, Outcome]] | None = None

    def expect(self, selection: Selection) -> None:
        """Note which calibrations are coming."""
        folder = self.tools.workspace.playdata
        names = [name for name, role in selection.roles.items() if role != SEARCHED]
        self._calibrations = [folder / name for name in names]
        self._missing = {path.name for path in self._calibrations if not path.exists()}

    def arrived(self, path: Path) -> None:
        """Note that a file is here; begin when it was the last calibration."""
        with self._lock:
            if path.name in self._missing:
                self._missing.remove(path.name)
                if not self._missing:
                    self._running = self._thread.submit(self._make)

    def __enter__(self) -> FlatPrefetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=kind is None)
        if kind is None and self._running is not None:
            self.made = self._running.result()

    def _make(self) -> dict[Path, Outcome]:
        playground, made = self.tools.workspace.playground, dict[Path, Outcome]()
        for group in plan_masters(self.survey(self._calibrations), playground, self.stored):
            if group.dark is not None and not group.dark.exists():
                continue  # so that it cannot be made is told when it is its turn in the plan
            outcome = self._make_one(group, made)
            if outcome:
                made[playground / group.product] = outcome
        return {path: outcome for path, outcome in made.items() if outcome.status == MADE}

    def _make_one(self, group: Group, made: Mapping[Path, Outcome]) -> Outcome | None:
        told: list[Event] = []
        begun = time.perf_counter()
        try:
            masters = {path: outcome for path, outcome in made.items() if path == group.dark}
            tell = noted(told, self._quietly, group.name)
            outcome = make_master(group, self.tools, tell, masters, self.stored)
        except ReducerError:
            return None  # it is tried again, and told, when it is its turn in the plan
        return replace(with_told(outcome, told, self.tools.cache), seconds=time.perf_counter() - begun)

    def _quietly(self, event: Event, /) -> None:
        """That a master is made is told when its turn in the plan comes."""
        if not isinstance(event, Made):
            self.notify(event)


#: What file systems without symbolic links answer: exFAT, many network shares.
NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EIO)


def is_workspace(folder: Path) -> bool:
    """Whether a folder was made by `goafetch run`, `fetch` or `unpack`."""
    return (folder / "playdata").is_dir()


def check_folder(folder: Path) -> None:
    """Raises UsageError for what is no folder."""
    if not folder.is_dir():
        meant = suggest(str(folder))
        raise UsageError(
            f"{folder} is neither a folder nor a program ID",
            "a program ID such as GS-2017A-Q-29, a workspace, or a folder of raw files",
            f"did you mean {meant}?" if meant else "give the folder that holds them, or a program ID",
        )


def take_folder(
    folder: Path, workspace: Workspace, notify: Notify, pool: WorkspacePool, *, dry_run: bool = False
) -> tuple[list[Path], list[LeftOut]]:
    """The raw files of a folder as paths in playdata/, linked or unpacked there unless they live there.

    Also those that cannot be had, which is told: broken links, and packed files that are damaged. With
    ``dry_run`` files stay where they are; packed ones are then left out, which is said.
    """
    lost: list[LeftOut] = []
    if is_workspace(folder) and (folder / "playdata").resolve() == workspace.playdata.resolve():
        files = sorted(path for path in workspace.playdata.iterdir() if path.name == fits_name(path.name))
        files += _of_examples(workspace, {path.name for path in files}, lost, notify, dry_run=dry_run)
    else:
        files = _raw_files(folder, workspace.root, lost, notify)
        plain = [path for path in files if not _is_packed(path)]
        if dry_run and len(plain) < len(files):
            notify(Warned(f"{len(files) - len(plain)} packed files are not looked into"))
        files = plain if dry_run else _bring_in(files, workspace, lost, notify, pool)
    if not files and not lost:
        raise NothingFound(
            f"no .fits or .fits.bz2 file in {folder}",
            "a workspace, or a folder of raw files",
            "give the folder that holds them, or a program ID to fetch them",
        )
    return files, lost


def _of_examples(
    workspace: Workspace, known: set[str], lost: list[LeftOut], notify: Notify, *, dry_run: bool
) -> list[Path]:
    """Files in folders of playdata/, such as example1/ of the tutorials' data packages, linked beside them
    unless it is a ``dry_run``; without those of names that are ``known``."""
    folders = sorted(path for path in workspace.playdata.iterdir() if path.is_dir())
    found = {path.name: path for folder in folders for path in _raw_files(folder, folder, lost, notify)}
    new = [path for name, path in found.items() if name == fits_name(name) and name not in known]
    for path in () if dry_run else new:
        _link(path, workspace.playdata / path.name)
    return new if dry_run else [workspace.playdata / path.name for path in new]


def _raw_files(folder: Path, workspace: Path, lost: list[LeftOut], notify: Notify) -> list[Path]:
    """Files below a folder, none of a workspace in it, one of each name: whole ones, then plain ones first.

    Names that differ in case alone are one name, as they are where file systems do not tell case.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(_below(folder, workspace, notify), key=lambda p: (_is_packed(p), p.as_posix())):
        name = fits_name(path.name)
        if name and path.is_file():
            found.setdefault(name.casefold(), []).append(path)
        elif name and path.is_symlink():
            lost.append(LeftOut(path, f"a link to {path.readlink()}, which is no file", failed=True))
            notify(Refusal(path.name, lost[-1].reason))
    chosen = [next((path for path in same[:-1] if _is_whole(path)), same[-1]) for same in found.values()]
    _tell_passed_over(list(zip(chosen, found.values(), strict=True)), notify)
    return sorted(chosen)


def _is_whole(path: Path) -> bool:
    """Whether a file can be read; packed ones are not looked into."""
    from reducer.errors import BadFile
    from reducer.fitsio import units_of

    try:
        return _is_packed(path) or bool(units_of(path))
    except BadFile:
        return False


def _tell_passed_over(chosen: Sequence[tuple[Path, Sequence[Path]]], notify: Notify) -> None:
    """Name each file that another one of its name is used instead of; packed files beside their plain ones
    in one line."""
    packed = []
    for first, same in chosen:
        for path in same:
            if path == first.with_name(f"{first.name}.bz2"):
                packed.append(path.name)
            elif path != first:
                why = f"{first} has that name" if _is_whole(path) else f"it is damaged, {first} is used"
                notify(Warned(f"{path} is passed over: {why}"))
    if packed:
        reason = f"each is beside its unpacked one: {', '.join(packed)}"
        notify(Decided(f"{len(packed)} packed files are passed over", reason))


def _below(folder: Path, workspace: Path, notify: Notify) -> Iterator[Path]:
    """Files of a folder and those in it; not of hidden ones, virtual environments and other workspaces."""

    def cannot(error: OSError) -> None:
        notify(Warned(f"cannot look into {error.filename}: {error.strerror}"))

    inside = workspace.resolve()
    for place, folders, names in os.walk(folder, onerror=cannot):
        kept = []
        for below in (Path(place) / name for name in sorted(folders) if not name.startswith(".")):
            if (below / "pyvenv.cfg").exists() or (below / "conda-meta").exists():
                continue
            if below.resolve() == inside:
                continue
            if is_workspace(below) and Workspace(below).playground.is_dir():
                notify(Decided(f"passed over {below}", "a workspace of its own; run it by its name"))
                continue
            kept.append(below.name)
        folders[:] = kept
        yield from (Path(place) / name for name in names)


def _is_packed(path: Path) -> bool:
    return ".bz2" in path.name


def _bring_in(
    files: Sequence[Path], workspace: Workspace, lost: list[LeftOut], notify: Notify, pool: WorkspacePool
) -> list[Path]:
    packed = [path for path in files if _is_packed(path)]
    names = {path: str(fits_name(path.name)) for path in files}
    copied = [
        path for path in files if path not in packed and not _link(path, workspace.playdata / names[path])
    ]
    if copied:
        why = "their file system has no symbolic links"
        notify(Decided(f"{len(copied)} raw files were copied into {workspace.playdata}", why))
    if packed:
        from goafetch.archive.unpack import unpack

        report = unpack(packed, workspace.playdata, pool=pool, notify=notify)
        lost += [LeftOut(workspace.playdata / name, why, failed=True) for name, why in report.failed]
    return [workspace.playdata / name for name in names.values() if (workspace.playdata / name).exists()]


def _link(source: Path, link: Path) -> bool:
    """A relative link, so that the two folders may move together; an existing right one stays.

    False where there can be no links: the file is copied then.
    """
    target = os.path.relpath(source.absolute(), link.parent.resolve())
    if link.is_symlink() and str(link.readlink()) == target:
        return True
    if link.exists() and not link.is_symlink():
        if link.resolve() == source.resolve() or filecmp.cmp(link, source):
            return True
        raise WorkspaceError(
            f"{link} is a file of its own, not a link to {source}",
            "a workspace that belongs to this folder",
            "choose another one with --into DIR",
        )
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _copy(source, link)
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """A whole copy or none, with the time of its source: that tells quickly whether it is the same."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(source, partial)
        with suppress(OSError):  # some network disks set no times
            os.utime(partial, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
