"""What a run remembers of itself: decisions, warnings and refusals as they are told, and the summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from goafetch import __version__
from goafetch.errors import UsageError, WorkspaceError
from goafetch.events import (
    CalibrationChoice,
    Decided,
    Event,
    Notify,
    Separation,
    SkyChoice,
    Warned,
)
from goafetch.pipeline.stages import REFUSED, REUSED, Outcome
from goafetch.plan.model import FLAT, SCIENCE, STANDARD, Group, Plan
from goafetch.plan.sort import LAMP_OFF, LAMP_ON
from goafetch.report.model import (
    Exclusion,
    Exposure,
    Product,
    RunSummary,
    Timing,
    read_summary,
)
from goafetch.workspace import Workspace
from reducer.headers.same import exposure_name

if TYPE_CHECKING:
    from goafetch.pipeline.raw_files import RawFiles

E = TypeVar("E", bound=Event)

#: The report's words for what a product is, by the end of its name.
KINDS = {"_flat": "flat", "_skyCorrected": "on target", "_flatCorrected": "off target"}
#: Why a raw file has a role that its header alone decides.
WHY = {
    LAMP_ON: "OBJECT is Domeflat",
    LAMP_OFF: "OBJECT is Domeflat OFF",
    STANDARD: "OBSCLASS is partnerCal",
}


@dataclass
class Recorder:
    """Passes every event on, and keeps what the report will tell, each with the group that it is about."""

    notify: Notify
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    decisions: list[Event] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        if isinstance(event, Decided | Separation | SkyChoice | CalibrationChoice):
            self.decisions.append(event)
        elif isinstance(event, Warned):
            self.warnings.append(event)
        self.notify(event)


def exposures(plan: Plan, products: Iterable[Path], decisions: Iterable[Event] = ()) -> tuple[Exposure, ...]:
    """Every raw file that the plan uses, with its role, and why it has this role."""
    off_target = {exposure_name(path) for path in products if path.stem.endswith("_flatCorrected")}
    told = {each.group: each.reason for each in decisions if isinstance(each, Separation)}
    return tuple(
        _exposure(frame, group, _role(group, number, off_target), told.get(group.name, ""))
        for group in plan.groups()
        for number, frame in enumerate(group.frames)
    )


def _role(group: Group, number: int, off_target: set[str]) -> str:
    if group.kind == FLAT:
        return LAMP_ON if number < group.lit else LAMP_OFF
    if group.kind == SCIENCE:
        return "off target" if exposure_name(group.frames[number]) in off_target else "on target"
    return group.kind


def _exposure(frame: Path, group: Group, role: str, separated: str) -> Exposure:
    setup = dict(group.apart).get(frame, group.setup)
    return Exposure(frame.name, role, group.name, WHY.get(role, separated), str(setup), group.stack)


def not_needed(plan: Plan) -> list[Decided]:
    """The files that are left out without loss, a line for each reason."""
    reasons = dict.fromkeys(left.reason for left in plan.left_out if not left.failed)
    names = {
        why: ", ".join(left.path.name for left in plan.left_out if left.reason == why and not left.failed)
        for why in reasons
    }
    return [Decided(f"left out {files}", why) for why, files in names.items()]


def kind_of_product(path: Path, group_kind: str) -> str:
    """'stack', 'standard', 'flat', 'on target' or 'off target'."""
    for ending, kind in KINDS.items():
        if path.stem.endswith(ending):
            return kind
    return "stack" if group_kind == SCIENCE else group_kind


@dataclass(frozen=True)
class Account:
    """All that a run came to: what the summary and the exit code are made from."""

    target: str
    command: str
    parameters: Mapping[str, Mapping[str, Any]]
    plan: Plan
    outcomes: Sequence[Outcome]
    refused: Mapping[str, Mapping[str, str]]
    raw_files: RawFiles | None = None

    @property
    def shortcomings(self) -> list[str]:
        """Names of what was asked for and could not be done."""
        missing = [left.path.name for left in self.plan.left_out if left.failed]
        missing += [outcome.name for outcome in self.outcomes if outcome.status == REFUSED]
        return missing + [name for names in self.refused.values() for name in names]


def summarise(
    account: Account, workspace: Workspace, told: Recorder, earlier: RunSummary | None
) -> RunSummary:
    """The story of a run as the report reads it."""
    paths = [path for outcome in account.outcomes for path in outcome.products]
    raw_files, before = account.raw_files, earlier or RunSummary("")
    # A stack has the name of the first of its visits.
    stacks = {group.name: group.stack for group in account.plan.groups()}
    decisions = _with_earlier(told.decisions, before.decisions, account.outcomes)
    return RunSummary(
        program=account.target,
        command=account.command,
        parameters=account.parameters,
        archive=raw_files.archive if raw_files else "",
        query=raw_files.query if raw_files else "",
        started=told.started.isoformat(timespec="seconds"),
        version=__version__,
        fetched=len(raw_files.report.done) if raw_files else 0,
        fetched_bytes=raw_files.report.bytes if raw_files else 0,
        exposures=exposures(account.plan, paths, decisions),
        decisions=decisions,
        exclusions=_exclusions(account),
        products=tuple(
            Product(
                path.relative_to(workspace.root).as_posix(),
                kind_of_product(path, outcome.kind),
                outcome.name,
                stacks[outcome.name],
                outcome.status == REUSED,
            )
            for outcome in account.outcomes
            for path in outcome.products
        ),
        timings=tuple(Timing(f"{o.kind} {o.name}", o.seconds, len(o.products)) for o in account.outcomes),
        warnings=_with_earlier(told.warnings, before.warnings, account.outcomes),
        refused={key: dict(names) for key, names in account.refused.items()},
    )


def _exclusions(account: Account) -> tuple[Exclusion, ...]:
    left_out = [Exclusion(left.path.name, left.reason) for left in account.plan.left_out]
    failed = [Exclusion(o.name, o.reason) for o in account.outcomes if o.status == REFUSED]
    refused = [Exclusion(name, why) for names in account.refused.values() for name, why in names.items()]
    return (*left_out, *failed, *refused)


def _with_earlier(told: Sequence[E], earlier: Iterable[E], outcomes: Iterable[Outcome]) -> tuple[E, ...]:
    """What was told, and what an earlier run told of the stages that this one reused."""
    reused = {outcome.name for outcome in outcomes if outcome.status == REUSED}
    return (*told, *(event for event in earlier if event.group in reused and event not in told))


def earlier_summary(root: Path) -> RunSummary | None:
    """The story of the run before, None where there is none that can be read."""
    try:
        return read_summary(root)
    except (UsageError, WorkspaceError):
        return None


def refused_before(earlier: RunSummary | None) -> Mapping[str, Mapping[str, str]]:
    """By the key that products would carry: the frames that a recipe refused, and why."""
    return earlier.refused if earlier else {}
