"""The main job: raw files, a plan, its execution, the report; and the account of it all."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch.config import Settings, load_settings
from goafetch.errors import DONE, FAILED
from goafetch.events import Notify, Planned, Refusal, StageBegun, StageEnded, Warned, silent
from goafetch.pipeline import story
from goafetch.pipeline.calibrations import add_to_store, store_of, stored_calibrations
from goafetch.pipeline.execute import execute
from goafetch.pipeline.folder import check_folder, is_workspace, take_folder
from goafetch.pipeline.forecast import forecast
from goafetch.pipeline.log import logged
from goafetch.pipeline.places import InThisProcess, check_cluster, note_compiled, open_pool, share_of
from goafetch.pipeline.references import Choices
from goafetch.pipeline.result import RunReport
from goafetch.pipeline.stages import Outcome, Work
from goafetch.plan.decide import make_plan
from goafetch.plan.model import LeftOut, Plan
from goafetch.plan.sort import Wanted
from goafetch.workspace import Workspace, held, prepared
from reducer.errors import ReducerError
from reducer.headers.sky import SEPARATE

if TYPE_CHECKING:
    from goafetch.engine.pool import Pool
    from goafetch.pipeline.raw_files import RawFiles
    from reducer.headers.descriptors import Descriptors


@dataclass(frozen=True)
class Request:
    """What is to be run: a program ID or a folder, and the user's limits and choices."""

    target: str
    date: str | None = None
    night: str | None = None
    object: str | None = None
    filter: str | None = None
    into: Path | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dry_run: bool = False
    verify: bool = False
    command: str = ""
    catalog: str | Path = "auto"
    phot_catalog: str | Path = "auto"
    standards: str | Path | None = None

    @property
    def choices(self) -> Choices:
        """What positions and magnitudes are to come from."""
        return Choices(
            str(self.catalog), str(self.phot_catalog), str(self.standards) if self.standards else None
        )

    @property
    def wanted(self) -> Wanted:
        """The limits that concern frames already here, and what separates their pointings."""
        fraction = self.parameters.get("separateSky", {}).get("frac_FOV", SEPARATE)
        return Wanted(self.object or "", self.filter or "", float(fraction))

    @property
    def is_program(self) -> bool:
        """Whether the target reads as a program ID, which wins over a folder of that name."""
        from goafetch.archive.query_syntax import is_identifier

        return is_identifier(self.target)

    @property
    def workspace(self) -> Workspace:
        """Where it happens: --into, else the program's name, or the folder itself if it is a workspace."""
        if self.into is not None:
            return Workspace(self.into)
        if self.is_program:
            return Workspace(Path(self.target.upper()))
        folder = Path(self.target)
        return Workspace(folder if is_workspace(folder) else Path(f"{folder.resolve().name}-reduced"))


def run_job(
    request: Request,
    settings: Settings | None = None,
    notify: Notify = silent,
    pool: Pool | None = None,
    fetching: AbstractContextManager[Any] | None = None,
) -> RunReport:
    """Do the main job for one program or folder.

    ``pool``: the workers, by default some of its own. ``fetching`` is entered while files are fetched, so
    that of several programs one at a time burdens the archive.
    """
    request.choices.check()
    if not request.is_program:
        check_folder(Path(request.target))
    settings = settings or load_settings(request.workspace.root)
    # A cluster's workers start in folders of their own.
    workspace = Workspace(request.workspace.root.absolute()) if settings.cluster else request.workspace
    if request.dry_run:
        return rehearse(request, workspace, settings, notify)
    with (
        prepared(workspace),
        held(workspace, notify),
        logged(notify, workspace.log, workspace.events) as told,
    ):
        tell = story.Recorder(told)
        with nullcontext(pool) if pool else open_pool(settings, tell) as workers:
            return perform(request, workspace, settings, tell, workers, fetching or nullcontext())


def perform(
    request: Request,
    workspace: Workspace,
    settings: Settings,
    tell: story.Recorder,
    pool: Pool,
    fetching: AbstractContextManager[Any],
) -> RunReport:
    """Fetch or link the raw files, plan, reduce, and tell the story."""
    from goafetch.report.model import write_summary

    begun = time.perf_counter()
    earlier = story.earlier_summary(workspace.root)
    verified = workspace.verified()
    if request.verify:
        verified.forget()
    work = Work(
        workspace,
        pool.at(workspace.workers_lock),
        tell,
        request.parameters,
        verified,
        share_of(settings, pool.workers),
        story.refused_before(earlier),
        choices=request.choices,
        stored=stored_calibrations(store_of(workspace, settings)),
    )
    check_cluster(pool, workspace)
    pool.start()  # they import what they need beside the planning
    with fetching:
        facts, missing, raw_files = _raw_frames(request, work, settings)
    plan = plan_files(facts, workspace, settings, request.wanted, tell, missing)
    outcomes = execute(plan, work)
    if any(outcome.redone for outcome in outcomes):
        note_compiled()
    add_to_store(store_of(workspace, settings), plan, outcomes, workspace)
    verified.save()
    account = story.Account(
        request.target, request.command, request.parameters, plan, outcomes, work.refused, raw_files
    )
    summary = story.summarise(account, workspace, tell, earlier)
    summary = replace(summary, seconds=time.perf_counter() - begun)
    write_summary(workspace.root, summary)
    page = _report(work, outcomes)
    return RunReport(workspace, plan, tuple(outcomes), summary, page, _exit_code(account))


def rehearse(request: Request, workspace: Workspace, settings: Settings, notify: Notify) -> RunReport:
    """Say what would be fetched and reduced, and why, and touch nothing.

    What it foretells is no failure of its own; that files cannot be had, or read, is one.
    """
    tell = story.Recorder(notify)
    before = story.refused_before(story.earlier_summary(workspace.root))
    work = Work(
        workspace,
        InThisProcess(),
        tell,
        request.parameters,
        workspace.verified(),
        refused_before=before,
        choices=request.choices,
    )
    facts, missing, raw_files = _raw_frames(request, work, settings)
    plan = plan_files(facts, workspace, settings, request.wanted, tell, missing)
    account = story.Account(request.target, request.command, request.parameters, plan, [], {}, raw_files)
    summary = story.summarise(account, workspace, tell, None)
    code = FAILED if any(left.failed for left in missing) else DONE
    return RunReport(workspace, plan, tuple(forecast(plan, work)), summary, None, code)


def plan_files(
    facts: Sequence[tuple[Path, Descriptors]],
    workspace: Workspace,
    settings: Settings,
    wanted: Wanted,
    notify: Notify,
    missing: Sequence[LeftOut] = (),
) -> Plan:
    """The plan for raw files with their descriptors, told choice by choice.

    ``missing``: files that could not be had or read, which is told already.
    """
    plan = make_plan(facts, workspace.playground, wanted, stored_calibrations(store_of(workspace, settings)))
    plan = replace(plan, left_out=(*missing, *plan.left_out))
    notify(Planned(plan.table()))
    for group in plan.groups():
        for reason in group.reasons:
            notify(replace(reason, group=group.name))
    for left in plan.left_out:
        if left.failed and left not in missing:
            notify(Refusal(left.path.name, left.reason))
    for decision in story.not_needed(plan):
        notify(decision)
    for text in plan.warnings:
        notify(Warned(text))
    return plan


def survey(
    files: Sequence[Path], notify: Notify = silent
) -> tuple[list[tuple[Path, Descriptors]], list[LeftOut]]:
    """The descriptors of files by their headers, and the files that have none that can be read."""
    from reducer.fitsio import read_headers
    from reducer.headers.descriptors import describe as describe_frame

    facts, unreadable = [], []
    for path in files:
        try:
            primary, chips = read_headers(path)
            facts.append((path, describe_frame(primary, chips, path.name)))
        except ReducerError as error:
            notify(Refusal(path.name, str(error)))
            unreadable.append(LeftOut(path, str(error), failed=True))
    return facts, unreadable


def _raw_frames(
    request: Request, work: Work, settings: Settings
) -> tuple[Sequence[tuple[Path, Descriptors]], Sequence[LeftOut], RawFiles | None]:
    """The raw frames of a folder, or of a program, and what could not be had or read."""
    files: Sequence[Path]
    missing: Sequence[LeftOut]
    if request.is_program:
        raw_files = _fetch(request, work, settings)
        files, missing = raw_files.files, raw_files.left_out
    else:
        folder, raw_files = Path(request.target), None
        files, missing = take_folder(folder, work.workspace, work.notify, work.pool, dry_run=request.dry_run)
    facts, unreadable = survey(files, work.notify)
    return facts, (*missing, *unreadable), raw_files


def _fetch(request: Request, work: Work, settings: Settings) -> RawFiles:
    """Fetch the raw files of a program. Master flats begin as soon as their frames are here."""
    from goafetch.archive.download import Options
    from goafetch.archive.query import Criteria
    from goafetch.pipeline.early import EarlyFlats
    from goafetch.pipeline.raw_files import fetch_raw_files

    criteria = Criteria(
        program=request.target,
        date=request.date,
        night=request.night,
        object=request.object,
        filter=request.filter,
    )
    with EarlyFlats(work, lambda files: survey(files)[0]) as early:
        options = Options(
            dry_run=request.dry_run,
            pool=work.pool,
            verified=work.verified,
            on_selection=early.expect,
            on_file=early.arrived,
        )
        return fetch_raw_files(criteria, work.workspace, settings, work.notify, options)


def _report(work: Work, outcomes: Sequence[Outcome]) -> Path:
    """The page, made again unless nothing was redone since it was, by this run or one that was killed."""
    page = work.workspace.report / "index.html"
    if page.exists() and not any(outcome.redone or _is_newer(outcome, page) for outcome in outcomes):
        return page
    from goafetch.report import make_report

    work.notify(StageBegun("report"))
    work.pool.start_waiting()
    page = make_report(work.workspace.root, work.pool.submit, work.drawn)
    work.notify(StageEnded("report"))
    return page


def _is_newer(outcome: Outcome, page: Path) -> bool:
    made = page.stat().st_mtime_ns
    return any(product.stat().st_mtime_ns > made for product in outcome.products if product.exists())


def _exit_code(account: story.Account) -> int:
    """0 if all that was asked is done; 1 where something was refused or failed."""
    return FAILED if account.shortcomings else DONE
