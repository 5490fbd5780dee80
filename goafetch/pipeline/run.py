"""The main job: raw files, a plan, its execution, the report; and the account of it all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any

from calstore.associate import PROCESSED_DARK, PROCESSED_FLAT, Calibration
from goafetch.config import INSTRUMENT, Settings, load_settings, parse_size
from goafetch.engine.cluster import Cluster
from goafetch.errors import DONE, FAILED, UsageError
from goafetch.events import (
    Decided,
    Event,
    Notify,
    Planned,
    Refusal,
    StageBegun,
    StageEnded,
    Warned,
    logged,
    silent,
)
from goafetch.pipeline.cache import Cache, add_to_store, store_of, stored_calibrations
from goafetch.pipeline.catalogues import CatalogueSearch, Choices
from goafetch.pipeline.execute import execute, foresee, noted
from goafetch.pipeline.forecast import tell_forecast
from goafetch.pipeline.raw_files import check_folder, is_workspace, take_folder
from goafetch.pipeline.resources import (
    InThisProcess,
    check_cluster,
    note_compiled,
    open_pool,
    share_of,
    workers_of,
)
from goafetch.pipeline.stages import MADE, TASK_MEMORY, USUAL, Outcome, StageRecipe, Tools
from goafetch.pipeline.summary import RunReport, summarise, unusual_recipes
from goafetch.plan.decide import make_plan
from goafetch.plan.plan import LeftOut, Plan, masters_given
from goafetch.plan.sort import Wanted
from goafetch.report.run_summary import write_summary
from goafetch.text import parse_parameters
from goafetch.workspace import Workspace, hold_workspace, prepare_workspace
from reducer.errors import ReducerError

if TYPE_CHECKING:
    from goafetch.engine.pool import Pool, WorkspacePool
    from goafetch.pipeline.raw_files import RawFiles
    from reducer.headers.descriptors import Descriptors

#: Parameters that name a file of the user's, and what it is.
FILES = {
    ("resampleToCommonFrame", "reference"): "a stack",
    ("darkCorrect", "dark"): "a master dark",
    ("flatCorrect", "flat"): "a master flat",
    ("addDQ", "user_bpm"): "a bad-pixel mask",
    ("skyCorrect", "sky"): "a sky exposure divided by its flat",
}

#: Folders of a workspace, which no run within it can be called.
TAKEN = ("playdata", "playground", "report")


@dataclass(frozen=True)
class Request:
    """What is to be run: a program ID or a folder, and the user's limits and choices."""

    target: str
    date: str | None = None
    night: str | None = None
    object: str | None = None
    filter: str | None = None
    instrument: str = INSTRUMENT
    into: Path | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dry_run: bool = False
    verify: bool = False
    command: str = ""
    catalog: str | Path = "auto"
    phot_catalog: str | Path = "auto"
    standards: str | Path | None = None
    recipes: Mapping[str, StageRecipe] = field(default_factory=lambda: USUAL)
    name: str = ""

    @property
    def choices(self) -> Choices:
        """What positions and magnitudes are to come from."""
        return Choices(
            str(self.catalog), str(self.phot_catalog), str(self.standards) if self.standards else None
        )

    def check(self) -> None:
        """UsageError for a file of the user's that is not there."""
        self.choices.check()
        for (step, name), what in FILES.items():
            path = self.parameters.get(step, {}).get(name)
            if path and not Path(path).is_file():
                raise UsageError(f"there is no file {path}", f"{what}, as {step}:{name}")

    @property
    def wanted(self) -> Wanted:
        """The limits of frames that are here, what separates their pointings, their dark and flat."""
        fraction = self.parameters.get("separateSky", {}).get("frac_FOV")
        dark, flat = (self.parameters.get(step, {}) for step in ("darkCorrect", "flatCorrect"))
        without = {
            PROCESSED_DARK: dark.get("do_cal") == "skip" or dark.get("skip_primitive"),
            PROCESSED_FLAT: not flat.get("do_flat", True) or flat.get("skip_primitive"),
        }
        given = masters_given(self.parameters)
        return Wanted(
            self.object or "",
            self.filter or "",
            fraction,
            {kind: path for kind, path in given.items() if not without[kind]},
            frozenset(kind for kind, is_left_out in without.items() if is_left_out),
        )

    @property
    def is_program(self) -> bool:
        """Whether the target reads as a program ID, which wins over a folder of that name."""
        from goafetch.archive.query import is_identifier

        return is_identifier(self.target)

    @property
    def root(self) -> Path:
        """Where it happens: --into, else the program's name, or the folder itself if it is a workspace."""
        if self.into is not None:
            return self.into
        if self.is_program:
            return Path(self.target.upper())
        folder = Path(self.target)
        return folder if is_workspace(folder) else Path(f"{folder.resolve().name}-reduced")

    @property
    def workspace(self) -> Workspace:
        """The workspace there; with a ``name`` the one of that name within it."""
        return Workspace(self.root / self.name, self.root) if self.name else Workspace(self.root)


def run(
    target: str | Path,
    *,
    date: str | None = None,
    night: str | None = None,
    object: str | None = None,
    filter: str | None = None,
    instrument: str = INSTRUMENT,
    into: str | Path | None = None,
    parameters: Iterable[str] | Mapping[str, Any] = (),
    keep: Iterable[str] = (),
    recipe: str | Sequence[str] = (),
    catalog: str | Path = "auto",
    phot_catalog: str | Path = "auto",
    standards: str | Path | None = None,
    name: str = "",
    dry_run: bool = False,
    verify: bool = False,
    archive: str | None = None,
    workers: int | None = None,
    memory: str | int | None = None,
    cluster: str | None = None,
    notify: Notify = silent,
    command: str = "",
) -> RunReport:
    """Reduce a program (fetched from the archive) or a folder of raw files to stacked images.

    Parameters
    ----------
    target : str or Path
        A program's ID, or a folder.
    date, night : str, optional
        UTC 'YYYYMMDD' or 'YYYYMMDD-YYYYMMDD'; the date in file names.
    object, filter : str, optional
        Only these, by the names that people use.
    instrument : str
        Whose data, of a program that has several's.
    into : str or Path, optional
        The workspace; by default the program's name.
    parameters : iterable of str or mapping, optional
        'step:name=value' texts, or a mapping of 'step:name' to values.
    keep : iterable of str, optional
        Steps whose frames stay.
    recipe : str or sequence of str, optional
        A name or 'FILE.py:NAME', or several, each for the stages (flats, frames, stacks) that make what its
        steps do.
    catalog, phot_catalog : str or Path, optional
        What positions are tied to, 'auto' (Gaia, else 2MASS), 'gaia', '2mass', 'none' or a file; magnitudes
        of stars in the field, 'auto', '2mass', 'none' or a file.
    standards : str or Path, optional
        A file with magnitudes of standard stars.
    name : str, optional
        Keep the products apart, in the folder of that name within the workspace, for other parameters.
    dry_run, verify : bool
        Only say what would be done; hash every file again.
    archive : str, optional
        The archive's address.
    workers, memory : int or str, optional
        Processes; bytes, or a text such as '1500M'.
    cluster : str, optional
        Address of a dask scheduler, or 'local' (from a script of your own, below
        ``if __name__ == "__main__":``).
    notify : callable
        Is given events (see ``goafetch.events``).
    command : str
        What was typed, for the report.

    Returns
    -------
    RunReport
        What became of each part; what was refused is in it, by name.

    Raises
    ------
    GoafetchError
        Or an error of the reducer or store, where nothing could be done.
    """
    request = make_request(
        target,
        into=into,
        parameters=parameters,
        keep=keep,
        recipe=recipe,
        date=date,
        night=night,
        object=object,
        filter=filter,
        instrument=instrument,
        name=name,
        dry_run=dry_run,
        verify=verify,
        command=command,
        catalog=catalog,
        phot_catalog=phot_catalog,
        standards=standards,
    )
    size = parse_size(memory) if isinstance(memory, str) else memory
    settings = load_settings(request.root, archive=archive, workers=workers, memory=size, cluster=cluster)
    return run_job(request, settings, notify)


def make_request(
    target: str | Path,
    *,
    into: str | Path | None = None,
    parameters: Iterable[str] | Mapping[str, Any] = (),
    keep: Iterable[str] = (),
    recipe: str | Sequence[str] = (),
    **choices: Any,
) -> Request:
    """A request from what a user gives; ``choices`` are the other fields of Request."""
    recipes = USUAL
    if recipe:
        from goafetch.pipeline.find_recipe import recipes_of_stages

        recipes = recipes_of_stages([recipe] if isinstance(recipe, str) else recipe)
    pairs = [*parse_parameters(parameters), *((f"{step}:write_outputs", True) for step in keep)]
    chosen = {}
    if pairs:  # what declares them imports all that reduces
        from reducer.recipes import parse

        chosen = parse(pairs, [step for each in recipes.values() for step in each.own])
    into = Path(into) if into else None
    _check_name(choices.get("name", ""))
    return Request(str(target), into=into, parameters=chosen, recipes=recipes, **choices)


def _check_name(name: str) -> None:
    """UsageError for a name that cannot be that of a folder beside those of a workspace."""
    others = name.translate(str.maketrans("", "", ascii_letters + digits))
    if name and (set(others) - set("._+-") or name[0] in others or name in TAKEN):
        raise UsageError(
            f"'{name}' cannot be the name of a run",
            f"letters, digits, '.', '-', '+' and '_'; not {', '.join(TAKEN)}",
        )


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
    request.check()
    if not request.is_program:
        check_folder(Path(request.target))
    settings = settings or load_settings(request.root)
    if settings.cluster:  # its workers start in folders of their own
        request = replace(request, into=request.root.absolute())
    workspace = request.workspace
    told: list[Event] = []
    if request.dry_run:
        return rehearse(Begun(request, workspace, settings, notify, noted(told, notify), told))
    with (
        prepare_workspace(workspace),
        hold_workspace(workspace, notify),
        logged(notify, workspace.log, workspace.events) as tell,
    ):
        run = Begun(request, workspace, settings, tell, noted(told, tell), told)
        with nullcontext(pool) if pool else open_pool(settings, run.note) as workers:
            return perform(run, workers, fetching or nullcontext())


@dataclass(frozen=True)
class Begun:
    """A run that has begun: what is asked, where, and whom it tells.

    ``note`` tells what is about no stage, which is also ``told`` in its report.
    """

    request: Request
    workspace: Workspace
    settings: Settings
    tell: Notify
    note: Notify
    told: Sequence[Event]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def tools(self, pool: WorkspacePool, memory: int = TASK_MEMORY) -> Tools:
        """What its stages work with."""
        cache = Cache(self.workspace, pool)
        asked = self.request
        return Tools(self.workspace, pool, cache, asked.parameters, memory, asked.recipes, asked.dry_run)

    def report(
        self, plan: Plan, outcomes: Sequence[Outcome], fetched: RawFiles | None, seconds: float = 0.0
    ) -> RunReport:
        """What it came to, but for its page."""
        summary = summarise(
            plan,
            outcomes,
            self.told,
            self.workspace.root,
            fetched,
            program=self.request.target,
            command=self.request.command,
            parameters=self.request.parameters,
            recipes=unusual_recipes(self.request.recipes),
            started=self.started.isoformat(timespec="seconds"),
            seconds=seconds,
        )
        return RunReport(self.workspace, plan, tuple(outcomes), summary, None, DONE)


def perform(run: Begun, pool: Pool, fetching: AbstractContextManager[Any]) -> RunReport:
    """Fetch or link the raw files, plan, reduce, and report."""
    begun, workspace, store = time.perf_counter(), run.workspace, store_of(run.workspace, run.settings)
    tools = run.tools(pool.in_workspace(workspace.workers_lock), share_of(run.settings, pool.workers))
    if run.request.verify:
        tools.cache.verified.forget()
    stored = stored_calibrations(store, run.settings.lookup)
    if isinstance(pool, Cluster):
        check_cluster(pool, workspace)
    pool.start()  # they import what they need beside the planning
    with fetching:
        raw = _raw_frames(run, tools, stored)
    plan = make_plan(raw.facts, workspace.playground, run.request.wanted, stored, raw.missing)
    tell_plan(plan, raw.missing, run.note)
    references = CatalogueSearch(run.request.choices, workspace)
    references.begin(plan.stacks)
    outcomes = execute(plan, tools, references, run.tell, stored, raw.flats)
    if any(outcome.redone for outcome in outcomes):
        note_compiled()
    standing = {group: made for group, made in zip(plan.masters, outcomes, strict=False) if made.products}
    add_to_store(store, {group: made.status == MADE for group, made in standing.items()}, workspace)
    tools.cache.verified.save()
    report = run.report(plan, outcomes, raw.fetched, seconds=time.perf_counter() - begun)
    write_summary(workspace.root, report.summary)
    code = FAILED if report.shortcomings else DONE
    return replace(report, report=_page(run, tools, outcomes), exit_code=code)


def rehearse(run: Begun) -> RunReport:
    """Say what would be fetched and reduced, and why, and touch nothing.

    What it foretells is no failure of its own; that files cannot be had, or read, is one.
    """
    tools = run.tools(InThisProcess())
    stored = stored_calibrations(store_of(run.workspace, run.settings), run.settings.lookup)
    workers = workers_of(run.settings)
    raw = _raw_frames(run, tools, stored)
    if raw.fetched:
        tell_forecast(raw.fetched.report, run.workspace.root, workers, run.note)
    plan = make_plan(raw.facts, run.workspace.playground, run.request.wanted, stored, raw.missing)
    tell_plan(plan, raw.missing, run.note)
    references = CatalogueSearch(run.request.choices, run.workspace)
    references.begin(plan.stacks, seek=False)
    outcomes = foresee(plan, tools, references, run.tell)
    code = FAILED if any(left.failed for left in raw.missing) else DONE
    # Nothing was made yet that a summary could tell of.
    summary = run.report(plan, (), raw.fetched).summary
    return RunReport(run.workspace, plan, tuple(outcomes), summary, None, code)


@dataclass(frozen=True)
class RawFrames:
    """The raw frames of a run with their descriptors, and what could not be had or read.

    ``fetched``: what came from the archive, None of a folder; ``flats``: master flats made meanwhile.
    """

    facts: Sequence[tuple[Path, Descriptors]]
    missing: Sequence[LeftOut] = ()
    fetched: RawFiles | None = None
    flats: Mapping[Path, Outcome] = field(default_factory=dict)


def tell_plan(plan: Plan, missing: Sequence[LeftOut], notify: Notify) -> None:
    """Tell a plan choice by choice; what is ``missing`` is told already."""
    notify(Planned(plan.table()))
    for group in plan.groups():
        for reason in group.reasons:
            notify(replace(reason, group=group.name))
    spare: dict[str, list[str]] = {}
    for left in plan.left_out:
        if not left.failed:
            spare.setdefault(left.reason, []).append(left.path.name)
        elif left not in missing:
            notify(Refusal(left.path.name, left.reason))
    for why, names in spare.items():
        notify(Decided(f"left out {', '.join(names)}", why))
    for text in plan.warnings:
        notify(Warned(text))


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


def _raw_frames(run: Begun, tools: Tools, stored: Sequence[Calibration]) -> RawFrames:
    """The raw frames of a folder, or of a program, and what could not be had or read."""
    if run.request.is_program:
        return _fetch(run, tools, stored)
    folder, dry_run = Path(run.request.target), run.request.dry_run
    files, missing = take_folder(folder, run.workspace, run.note, tools.pool, dry_run=dry_run)
    facts, unreadable = survey(files, run.note)
    return RawFrames(facts, (*missing, *unreadable))


def _fetch(run: Begun, tools: Tools, stored: Sequence[Calibration]) -> RawFrames:
    """Fetch the raw files of a program. Master flats begin as soon as their frames are here."""
    from goafetch.archive.download import Options
    from goafetch.archive.query import Criteria
    from goafetch.pipeline.raw_files import FlatPrefetch, fetch_raw_files

    asked = run.request
    criteria = Criteria(
        program=asked.target,
        date=asked.date,
        night=asked.night,
        object=asked.object,
        filter=asked.filter,
        instrument=asked.instrument,
    )
    with FlatPrefetch(tools, stored, lambda files: survey(files)[0], run.tell) as flats:
        options = Options(
            dry_run=asked.dry_run,
            pool=tools.pool,
            verified=tools.cache.verified,
            on_selection=flats.expect,
            on_file=flats.arrived,
        )
        fetched = fetch_raw_files(criteria, run.workspace, run.settings, run.note, options)
    facts, unreadable = survey(fetched.files, run.note)
    return RawFrames(facts, (*fetched.left_out, *unreadable), fetched, flats.made)


def _page(run: Begun, tools: Tools, outcomes: Sequence[Outcome]) -> Path:
    """The page, made again unless nothing was redone since it was, by this run or one that was killed."""
    page = run.workspace.report / "index.html"
    if page.exists() and not any(outcome.redone or _is_newer(outcome, page) for outcome in outcomes):
        return page
    from goafetch.report.page import make_report

    run.tell(StageBegun("report"))
    tools.pool.start_waiting()
    drawn = {outcome.products[0]: outcome.drawn for outcome in outcomes if outcome.drawn}
    page = make_report(run.workspace.root, tools.pool.submit, drawn)
    run.tell(StageEnded("report"))
    return page


def _is_newer(outcome: Outcome, page: Path) -> bool:
    made = page.stat().st_mtime_ns
    return any(product.stat().st_mtime_ns > made for product in outcome.products if product.exists())
