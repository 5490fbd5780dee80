"""What a run leaves behind of itself: the summary that its report tells, and what a caller is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch import __version__
from goafetch.events import Event, Refusal, Separation, Warned, why
from goafetch.pipeline.find_recipe import file_and_name
from goafetch.pipeline.stages import REFUSED, REUSED, USUAL, Outcome, StageRecipe
from goafetch.plan.plan import DARK, FLAT, SCIENCE, STANDARD, Group, Plan
from goafetch.plan.sort import LAMP_OFF, LAMP_ON
from goafetch.report.run_summary import Exclusion, ExposureRow, Product, RunSummary, Timing
from goafetch.text import table_html
from goafetch.words import some
from goafetch.workspace import Workspace
from reducer import products
from reducer.products import exposure_name

if TYPE_CHECKING:
    from goafetch.pipeline.raw_files import RawFiles

#: The report's words for what a product is, by the end of its name.
KINDS = {
    products.DARK: "dark",
    products.FLAT: "flat",
    products.ON_TARGET: "on target",
    products.OFF_TARGET: "off target",
}
#: Why a raw file has a role that its header alone decides.
WHY = {
    DARK: "OBSTYPE is DARK",
    LAMP_ON: "OBJECT is Domeflat",
    LAMP_OFF: "OBJECT is Domeflat OFF",
    STANDARD: "OBSCLASS is partnerCal",
}


def exposures(plan: Plan, outcomes: Sequence[Outcome]) -> tuple[ExposureRow, ...]:
    """Every raw file that the plan uses, with its role, and why it has this role."""
    off_target = {exposure_name(path) for outcome in outcomes for path in outcome.off_target}
    told = {e.group: why(e) for outcome in outcomes for e in outcome.told if isinstance(e, Separation)}
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


def _exposure(frame: Path, group: Group, role: str, separated: str) -> ExposureRow:
    setup = dict(group.apart).get(frame, group.setup)
    return ExposureRow(frame.name, role, group.name, WHY.get(role, separated), str(setup), group.stack)


def kind_of_product(path: Path, group_kind: str) -> str:
    """'stack', 'standard', 'dark', 'flat', 'on target' or 'off target'."""
    for ending, kind in KINDS.items():
        if path.stem.endswith(ending):
            return kind
    return "stack" if group_kind == SCIENCE else group_kind


def summarise(
    plan: Plan,
    outcomes: Sequence[Outcome],
    told: Iterable[Event],
    root: Path,
    fetched: RawFiles | None,
    **about: Any,
) -> RunSummary:
    """A run as its report tells it.

    ``told``: what was told besides by the stages; ``root``: the workspace's; ``about``: fields that do not
    follow from what was done.
    """
    lasting = [*told, *(event for outcome in outcomes for event in outcome.told)]
    # A stack has the name of the first of its visits.
    stacks = {group.name: group.stack for group in plan.groups()}
    return RunSummary(
        archive=fetched.archive if fetched else "",
        query=fetched.query if fetched else "",
        version=__version__,
        fetched=len(fetched.report.done) if fetched else 0,
        fetched_bytes=fetched.report.bytes if fetched else 0,
        exposures=exposures(plan, outcomes),
        decisions=tuple(event for event in lasting if not isinstance(event, Warned | Refusal)),
        exclusions=_exclusions(plan, outcomes),
        products=tuple(
            Product(
                path.relative_to(root).as_posix(),
                kind_of_product(path, outcome.kind),
                outcome.name,
                stacks[outcome.name],
                outcome.status == REUSED,
            )
            for outcome in outcomes
            for path in outcome.products
        ),
        timings=tuple(Timing(f"{o.kind} {o.name}", o.seconds, len(o.products)) for o in outcomes),
        warnings=tuple(event for event in lasting if isinstance(event, Warned)),
        refusals=tuple(event for event in lasting if isinstance(event, Refusal)),
        lost=count_lost(plan, outcomes),
        **about,
    )


def count_lost(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, tuple[int, int]]:
    """By target and filter how many exposures are in no product though they were to be, and of how many."""
    failed = {outcome.name for outcome in outcomes if outcome.status == REFUSED}
    made = {o.name for o in outcomes if any(path.stem.endswith(products.STACK) for path in o.products)}
    refused = {exposure_name(Path(name)) for outcome in outcomes for name in outcome.refused}
    counts: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack in plan.stacks:
        name = f"{stack.target} {stack.setup.filter}".strip()
        is_lost = stack.name in failed - made
        for group in stack.groups:
            lost = [is_lost or group.name in failed or exposure_name(f) in refused for f in group.frames]
            counts[name] += sum(lost)
            total[name] += len(lost)
    return {name: (count, total[name]) for name, count in counts.items() if count}


def unusual_recipes(recipes: Mapping[str, StageRecipe]) -> dict[str, str]:
    """The recipes by stage that are not the usual, a file by its whole path."""
    own = {stage: recipe for stage, recipe in recipes.items() if recipe != USUAL[stage]}
    return {
        stage: f"{recipe.file.resolve()}:{file_and_name(recipe.name)[1]}" if recipe.file else recipe.name
        for stage, recipe in own.items()
    }


def _exclusions(plan: Plan, outcomes: Sequence[Outcome]) -> tuple[Exclusion, ...]:
    left_out = [Exclusion(left.path.name, left.reason) for left in plan.left_out]
    failed = [Exclusion(o.name, o.reason) for o in outcomes if o.status == REFUSED]
    refused = [Exclusion(name, why) for outcome in outcomes for name, why in outcome.refused.items()]
    return tuple(dict.fromkeys([*left_out, *failed, *refused]))  # sky of two groups is refused twice


@dataclass(frozen=True)
class RunReport:
    """What became of a run: plan, outcomes, the summary as saved, and the exit code that a shell gets.

    ``report`` is the HTML page, None after a rehearsal.
    """

    workspace: Workspace
    plan: Plan
    outcomes: tuple[Outcome, ...]
    summary: RunSummary
    report: Path | None
    exit_code: int

    @property
    def shortcomings(self) -> list[str]:
        """Names of what was asked for and could not be done."""
        missing = [left.path.name for left in self.plan.left_out if left.failed]
        missing += [outcome.name for outcome in self.outcomes if outcome.status == REFUSED]
        return missing + [name for outcome in self.outcomes for name in outcome.refused]

    @property
    def redone(self) -> int:
        """Number of products that this run wrote."""
        return sum(outcome.redone for outcome in self.outcomes)

    @property
    def products(self) -> tuple[Path, ...]:
        """Every product of the plan that stands now."""
        return tuple(path for outcome in self.outcomes for path in outcome.products)

    @property
    def stacks(self) -> tuple[Path, ...]:
        """The stacked images."""
        return tuple(path for path in self.products if path.stem.endswith(products.STACK))

    def table(self) -> list[dict[str, Any]]:
        """A row for each stage: what it made, whether anew, and where."""
        return [
            {
                "what": outcome.name,
                "kind": outcome.kind,
                "status": outcome.status,
                "products": len(outcome.products),
                "seconds": round(outcome.seconds, 1),
                "file": str(outcome.products[0]) if len(outcome.products) == 1 else "",
                "why": outcome.reason,
            }
            for outcome in self.outcomes
        ]

    def conclusion(self) -> str:
        """What was done, the report, and last what is missing."""
        missing = f"; {self.missing}" if self.missing else ""
        return f"{self.done}{f'. Report: {self.report}' if self.report else ''}{missing}"

    @property
    def done(self) -> str:
        """What was done, and what could not be."""
        refused = dict.fromkeys(outcome.name for outcome in self.outcomes if outcome.status == REFUSED)
        if self.report is None:
            return "Dry run: nothing written"
        if not self.outcomes:
            return "nothing was made: no frames here can be reduced, and the report says why of each"
        made = f"{self.redone} product{'' if self.redone == 1 else 's'} made"
        if not self.redone:
            made = "no product made anew" if self.shortcomings else "nothing to do: every product is current"
        left_out = f"{self.summary.left_out} left out" if self.summary.lost else ""
        failed = f"could not be done: {', '.join(refused)}" if refused else ""
        return "; ".join(filter(None, (made, left_out, failed)))

    @property
    def missing(self) -> str:
        """The files that are not in the result though they were meant to be, by reason; else nothing."""
        lost = [(left.path.name, left.reason) for left in self.plan.left_out if left.failed]
        lost += [frame for outcome in self.outcomes for frame in outcome.refused.items()]
        by_reason: dict[str, list[str]] = {}
        for name, reason in dict.fromkeys(lost):
            by_reason.setdefault(reason, []).append(name)
        return "; ".join(f"missing {some(names)}: {reason}" for reason, names in by_reason.items())

    def __repr__(self) -> str:
        return f"<RunReport of {self.summary.program}: {self.conclusion()}>"

    def _repr_html_(self) -> str:
        rows = [row | {"file": Path(row["file"]) if row["file"] else ""} for row in self.table()]
        if self.report:
            empty = dict.fromkeys(rows[0] if rows else (), "")
            rows.append(empty | {"what": "report", "file": self.report})
        return table_html(rows, self.conclusion())

    def as_document(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            **self.summary.as_document(),
            "workspace": str(self.workspace.root),
            "report": str(self.report) if self.report else None,
            "exit_code": self.exit_code,
            "redone": self.redone,
            "plan": self.plan.table(),
            "outcomes": self.table(),
        }
