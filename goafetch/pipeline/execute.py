"""Carry out a plan: stages that do not need each other side by side, and an account of every one."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from calstore.associate import Calibration
from goafetch.errors import describe
from goafetch.events import LASTING, Event, Fault, Notify, Refusal, StageBegun, StageEnded
from goafetch.pipeline.cache import Cache
from goafetch.pipeline.catalogues import References
from goafetch.pipeline.resources import MODULES
from goafetch.pipeline.stages import (
    MADE,
    REFUSED,
    REUSED,
    Outcome,
    Tools,
    foresee_master,
    foresee_stack,
    foresee_visit,
    make_master,
    make_stack,
    reduce_visit,
)
from goafetch.plan.model import MASTERS, SCIENCE, Group, Plan, Stack
from goafetch.process import trim_memory

T = TypeVar("T", Group, Stack)
#: Stages at work at a time: what one does in a single process is done beside the tasks of the others.
SIDE_BY_SIDE = 3
#: Stacks that are drawn while others are made: what was drawn is kept until its page is written.
DRAWN_AHEAD = 4


@dataclass(frozen=True)
class Stage:
    """A group or stack, the stages that must have ended before, and what is done with what they made."""

    item: Group | Stack
    needs: tuple[Group | Stack, ...]
    act: Callable[[Sequence[Outcome], Notify], Outcome]

    @property
    def title(self) -> str:
        """What the stage is called while it runs."""
        if isinstance(self.item, Stack):
            return f"stack {self.item.name}"
        return f"master {self.item.name}" if self.item.kind in MASTERS else f"frames of {self.item.name}"


def execute(
    plan: Plan,
    tools: Tools,
    references: References,
    notify: Notify,
    stored: Sequence[Calibration] = (),
    ahead: Mapping[Path, Outcome] | None = None,
) -> list[Outcome]:
    """Reduce every group of a plan; one that fails takes only those with it that depend on it.

    ``stored``: calibrations that flats may be compared with; ``ahead``: flats that were made already.
    """
    running: dict[Group | Stack, Future[Outcome]] = {}
    is_new = tools.cache.read_ahead(frame for group in plan.visits for frame in group.frames)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        try:
            if is_new:  # it will be reduced: what does so is imported beside the reading
                for module in MODULES:
                    threads.submit(import_module, module)
            # In this order a stage that waits for others never keeps them from their turn.
            for stage in stages(plan, tools, references, stored, ahead or {}):
                needed = [running[item] for item in stage.needs]
                running[stage.item] = threads.submit(_attempt, stage, needed, tools, notify)
            return [running[item].result() for item in plan.items()]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            tools.pool.abandon()
            raise


def stages(
    plan: Plan,
    tools: Tools,
    references: References,
    stored: Sequence[Calibration],
    ahead: Mapping[Path, Outcome],
) -> list[Stage]:
    """The stages of a plan, each after those that it needs; a standard's stack is made beside the science."""

    def master(group: Group) -> Stage:
        needs, early = _masters_of(group, plan, tools), ahead.get(tools.workspace.playground / group.product)

        def act(made: Sequence[Outcome], tell: Notify) -> Outcome:
            masters = dict(zip(needs, made, strict=True))
            return make_master(group, tools, tell, masters, stored, early)

        return Stage(group, tuple(needs.values()), act)

    def visit(group: Group) -> Stage:
        needs = _masters_of(group, plan, tools)

        def act(made: Sequence[Outcome], tell: Notify) -> Outcome:
            return reduce_visit(group, tools, tell, dict(zip(needs, made, strict=True)))

        return Stage(group, tuple(needs.values()), act)

    def stack(item: Stack) -> Stage:
        def act(made: Sequence[Outcome], tell: Notify) -> Outcome:
            visits, standard = made[: len(item.groups)], made[len(item.groups) :]
            find = partial(references.of_stack, item, tools.parameters, tell, _product_of(standard))
            outcome = make_stack(item, tools, tell, visits, find)
            return _drawn(outcome, tools) if item in plan.stacks[:DRAWN_AHEAD] else outcome

        return Stage(item, (*item.groups, *_standard_of(item, references)), act)

    return [
        *map(master, plan.masters),
        *map(visit, _science_last(plan.visits)),
        *map(stack, _science_last(plan.stacks)),
    ]


def foresee(plan: Plan, tools: Tools, references: References, notify: Notify) -> list[Outcome]:
    """An outcome for each stage of a plan, as it would be: what is missing or changed, with the reason."""
    found: dict[Group | Stack, Outcome] = {}
    for group in plan.groups():
        masters = {path: found[master] for path, master in _masters_of(group, plan, tools).items()}
        foretell = foresee_master if group.kind in MASTERS else foresee_visit
        found[group] = foretell(group, tools, masters)
    for stack in _science_last(plan.stacks):
        standard = [found[each] for each in _standard_of(stack, references)]
        find = partial(references.of_stack, stack, tools.parameters, notify, _product_of(standard))
        found[stack] = foresee_stack(stack, tools, [found[group] for group in stack.groups], find)
    return [found[item] for item in plan.items()]


def _science_last(items: Sequence[T]) -> list[T]:
    """A science stack takes its zeropoint from a standard's."""
    return sorted(items, key=lambda item: item.kind == SCIENCE)


def _masters_of(group: Group, plan: Plan, tools: Tools) -> dict[Path, Group]:
    """The master flat and dark of a group, by path, where the plan makes them."""
    made = {tools.workspace.playground / master.product: master for master in plan.masters}
    return {path: made[path] for path in (group.dark, group.flat) if path in made}


def _standard_of(stack: Stack, references: References) -> tuple[Stack, ...]:
    standard = references.standard_of(stack)
    return (standard,) if standard else ()


def _product_of(standard: Sequence[Outcome]) -> tuple[Path, str] | None:
    """The stack of a standard, and its key, where it was made."""
    return next(((made.products[0], made.key) for made in standard if made.products and made.key), None)


def _drawn(outcome: Outcome, tools: Tools) -> Outcome:
    """A stack that was made, drawn for the report by workers that have nothing else to do."""
    if outcome.status != MADE:
        return outcome
    from goafetch.report.page import begin_parts

    parts = begin_parts(outcome.products[0], tools.workspace.report, tools.pool.when_idle)
    return replace(outcome, drawn=parts)


def _attempt(stage: Stage, needed: Sequence[Future[Outcome]], tools: Tools, notify: Notify) -> Outcome:
    """Run one stage; whatever goes wrong in it is told, and refuses it alone."""
    made = [future.result() for future in needed]
    item, begun = stage.item, time.perf_counter()
    told: list[Event] = []
    tell = about(item, notify)
    tell(StageBegun(stage.title))
    try:
        outcome = with_told(stage.act(made, noted(told, tell)), told, tools.cache)
    except Exception as error:  # told in full, and ends as a refusal with exit code 1
        if tools.pool.abandoned:
            raise
        failure = describe(error)
        reason = str(failure)
        if failure is None:
            reason = f"unforeseen {type(error).__name__}: {error}; the details are in reduce.log"
            tell(Fault(traceback.format_exc()))
        tell(Refusal(stage.title, reason))
        refused = Outcome(item.name, item.kind, REFUSED, reason=reason)
        outcome = with_told(refused, told, tools.cache)
    tell(StageEnded(stage.title))
    tools.cache.save()
    trim_memory()
    return replace(outcome, seconds=time.perf_counter() - begun)


def about(item: Group | Stack, notify: Notify) -> Notify:
    """A notify that adds to each event the group that it is about."""
    return lambda event: notify(replace(event, group=event.group or item.name))


def noted(told: list[Event], notify: Notify) -> Notify:
    """A notify that also notes, in ``told``, what a report tells."""

    def tell(event: Event, /) -> None:
        if isinstance(event, LASTING):
            told.append(event)
        notify(event)

    return tell


def with_told(outcome: Outcome, told: Sequence[Event], cache: Cache) -> Outcome:
    """An outcome with what was told while its products were made: now, or when they were."""
    if outcome.status == REUSED:
        told = cache.told(outcome.key)
    elif outcome.told:
        told = outcome.told
    elif outcome.status == MADE:
        cache.keep(outcome.key, told)
    return replace(outcome, told=tuple(replace(event, group=outcome.name) for event in told))
