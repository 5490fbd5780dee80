"""Carry out a plan: stages that do not need each other side by side, and an account of every one."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from calstore.associate import Calibration
from goafetch.errors import as_failure
from goafetch.events import LASTING, Event, Fault, Notify, Refusal, StageBegun, StageEnded
from goafetch.pipeline.cache import Cache
from goafetch.pipeline.catalogues import CatalogueSearch, Given
from goafetch.pipeline.resources import MODULES
from goafetch.pipeline.stages import (
    MADE,
    REFUSED,
    REUSED,
    Outcome,
    Tools,
    make_master,
    make_stack,
    own_parameters,
    reduce_visit,
)
from goafetch.plan.plan import MASTERS, SCIENCE, Group, Plan, Stack
from goafetch.system import trim_memory

#: Makes a group or stack from what became of those that it needs.
Act = Callable[[Group | Stack, Mapping[Group | Stack, Outcome], Notify], Outcome]
#: Stages at work at a time: what one does in a single process is done beside the tasks of the others.
SIDE_BY_SIDE = 3
#: Stacks that are drawn while others are made: what was drawn is kept until its page is written.
DRAWN_AHEAD = 4


def execute(
    plan: Plan,
    tools: Tools,
    references: CatalogueSearch,
    notify: Notify,
    stored: Sequence[Calibration] = (),
    ahead: Mapping[Path, Outcome] = MappingProxyType({}),
) -> list[Outcome]:
    """Reduce every group of a plan; one that fails takes only those with it that depend on it.

    ``stored``: calibrations that flats may be compared with; ``ahead``: flats that were made already.
    """

    act = partial(_act, plan, tools, references, stored, ahead)
    running: dict[Group | Stack, Future[Outcome]] = {}
    is_new = tools.cache.read_ahead(frame for group in plan.visits for frame in group.frames)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        try:
            if is_new:  # it will be reduced: what does so is imported beside the reading
                for module in MODULES:
                    threads.submit(import_module, module)
            for item in in_turn(plan):
                needed = {each: running[each] for each in needs(item, plan, tools, references)}
                running[item] = threads.submit(_attempt, item, needed, act, tools, notify)
            return [running[item].result() for item in plan.items()]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            tools.pool.abandon()
            raise


def foresee(plan: Plan, tools: Tools, references: CatalogueSearch, notify: Notify) -> list[Outcome]:
    """An outcome for each stage of a plan in a rehearsal: what is missing or changed, with the reason."""
    found: dict[Group | Stack, Outcome] = {}
    for item in in_turn(plan):
        before = {each: found[each] for each in needs(item, plan, tools, references)}
        found[item] = _act(plan, tools, references, (), {}, item, before, notify)
    return [found[item] for item in plan.items()]


def _act(
    plan: Plan,
    tools: Tools,
    references: CatalogueSearch,
    stored: Sequence[Calibration],
    ahead: Mapping[Path, Outcome],
    item: Group | Stack,
    before: Mapping[Group | Stack, Outcome],
    tell: Notify,
) -> Outcome:
    """Make a group or stack of a plan from what became of those that it needs."""
    if isinstance(item, Stack):
        visits, find = _for_stack(item, before, tools, references, tell)
        outcome = make_stack(item, tools, tell, visits, find)
        return _drawn(outcome, tools) if item in plan.stacks[:DRAWN_AHEAD] else outcome
    masters = _by_path(before, tools)
    if item.kind in MASTERS:
        early = ahead.get(tools.workspace.playground / item.product)
        return make_master(item, tools, tell, masters, stored, early)
    return reduce_visit(item, tools, tell, masters)


def in_turn(plan: Plan) -> list[Group | Stack]:
    """What a plan makes, in an order in which what waits for others never keeps them from their turn."""
    items: list[Group | Stack] = [*plan.visits, *plan.stacks]
    standards_first = sorted(items, key=lambda item: (isinstance(item, Stack), item.kind == SCIENCE))
    return [*plan.masters, *standards_first]


def needs(item: Group | Stack, plan: Plan, tools: Tools, references: CatalogueSearch) -> list[Group | Stack]:
    """What must have ended before: of a group its master dark and flat, where the plan makes them; of a stack
    its visits, and the stack of the standard whose zeropoint it takes."""
    if isinstance(item, Stack):
        standard = references.standard_of(item)
        return [*item.groups, standard] if standard else [*item.groups]
    made = {tools.workspace.playground / master.product: master for master in plan.masters}
    return [made[path] for path in (item.dark, item.flat) if path in made]


def _by_path(masters: Mapping[Group | Stack, Outcome], tools: Tools) -> dict[Path, Outcome]:
    """What became of master calibrations, by where they stand."""
    playground = tools.workspace.playground
    return {playground / group.product: made for group, made in masters.items() if isinstance(group, Group)}


def _for_stack(
    stack: Stack,
    before: Mapping[Group | Stack, Outcome],
    tools: Tools,
    references: CatalogueSearch,
    notify: Notify,
) -> tuple[list[Outcome], Callable[[], Given]]:
    """What became of a stack's visits, and what finds the files for its steps: among them the standard's
    stack, with its key, where it was made."""
    standards = (made for item, made in before.items() if isinstance(item, Stack))
    known = next(((made.products[0], made.key) for made in standards if made.products and made.key), None)
    find = partial(references.of_stack, stack, own_parameters(stack, tools), notify, known)
    return [before[group] for group in stack.groups], find


def _drawn(outcome: Outcome, tools: Tools) -> Outcome:
    """A stack that was made, drawn for the report by workers that have nothing else to do."""
    if outcome.status != MADE:
        return outcome
    from goafetch.report.page import begin_parts

    parts = begin_parts(outcome.products[0], tools.workspace.report, tools.pool.when_idle)
    return replace(outcome, drawn=parts)


def _attempt(
    item: Group | Stack,
    needed: Mapping[Group | Stack, Future[Outcome]],
    act: Act,
    tools: Tools,
    notify: Notify,
) -> Outcome:
    """Run one stage; whatever goes wrong in it is told, and refuses it alone."""
    before = {each: future.result() for each, future in needed.items()}
    what = "stack" if isinstance(item, Stack) else "master" if item.kind in MASTERS else "frames of"
    title, begun = f"{what} {item.name}", time.perf_counter()
    told: list[Event] = []
    notify(StageBegun(title, group=item.name))
    try:
        outcome = with_told(act(item, before, noted(told, notify, item.name)), told, tools.cache)
    except Exception as error:  # told in full, and ends as a refusal with exit code 1
        if tools.pool.abandoned:
            raise
        failure = as_failure(error)
        reason = str(failure)
        if failure is None:
            reason = f"unforeseen {type(error).__name__}: {error}; the details are in reduce.log"
            notify(Fault(traceback.format_exc(), group=item.name))
        notify(Refusal(title, reason, group=item.name))
        refused = Outcome(item.name, item.kind, REFUSED, reason=reason)
        outcome = with_told(refused, told, tools.cache)
    notify(StageEnded(title, group=item.name))
    tools.cache.save()
    trim_memory()
    # What was made ahead took its time then.
    return replace(outcome, seconds=outcome.seconds + time.perf_counter() - begun)


def noted(told: list[Event], notify: Notify, group: str = "") -> Notify:
    """A notify that also notes, in ``told``, what a report tells; who is told hears of which group it is."""

    def tell(event: Event, /) -> None:
        if isinstance(event, LASTING):
            told.append(event)
        notify(replace(event, group=event.group or group))

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
