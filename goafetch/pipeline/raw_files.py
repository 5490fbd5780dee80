"""Raw files from the archive for a run, with every choice told; master flats made while science arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from calstore.associate import Calibration
from goafetch.archive.job import SEARCHED
from goafetch.config import Settings
from goafetch.events import Decided, Event, Made, Noted, Notify, Refusal, Warned, silent
from goafetch.pipeline.execute import about, noted, with_told
from goafetch.pipeline.stages import MADE, Outcome, Tools, make_flat
from goafetch.plan.decide import plan_flats
from goafetch.plan.model import Group, LeftOut
from goafetch.workspace import Workspace
from reducer.errors import ReducerError

if TYPE_CHECKING:
    from goafetch.archive.associate import Association
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
    notify(Decided(f"{found} files of {criteria.program}", f"archive query {selection.query}"))
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
    from goafetch.archive.associate import Associated, find_records

    gone = [f for n, f in before.files.items() if f.role == SEARCHED and n not in selection.roles]
    known = find_records(client, (Associated(f.name, f.data_label, f.file_md5) for f in gone)) if gone else {}
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
    for kind in dict.fromkeys(calibrations.kinds.values()):
        names = [name for name, its_kind in calibrations.kinds.items() if its_kind == kind]
        why = dict.fromkeys(calibrations.reasons.get(name, "") for name in names)
        files = "1 file" if len(names) == 1 else f"{len(names)} files"
        notify(Decided(f"{files} of kind {kind}", "; ".join(filter(None, why))))
    for record, reason in calibrations.rejected:
        notify(Noted(f"not fetched {record.name}: {reason}"))


class FlatPrefetch:
    """Waits for the last calibration and makes the master flats then; use it as a context manager.

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
        groups = plan_flats(self.survey(self._calibrations))
        made = {self.tools.workspace.playground / group.product: self._make_one(group) for group in groups}
        return {path: outcome for path, outcome in made.items() if outcome and outcome.status == MADE}

    def _make_one(self, group: Group) -> Outcome | None:
        told: list[Event] = []
        try:
            outcome = make_flat(group, self.tools, noted(told, _quietly(group, self.notify)), self.stored)
        except ReducerError:
            return None  # it is tried again, and told, when it is its turn in the plan
        return with_told(outcome, told, self.tools.cache)


def _quietly(group: Group, notify: Notify) -> Notify:
    """Events with their group; that the flat is made is told when its turn in the plan comes."""
    tell = about(group, notify)
    return lambda event: None if isinstance(event, Made) else tell(event)
