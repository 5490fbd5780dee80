"""Carry out a plan: stages that do not need each other side by side, and an account of every one."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from goafetch.errors import describe
from goafetch.events import Fault, Notify, Refusal, StageBegun, StageEnded
from goafetch.pipeline.places import MODULES
from goafetch.pipeline.stages import REFUSED, Outcome, Work, hash_ahead, make_flat, make_stack, reduce_visit
from goafetch.plan.model import FLAT, SCIENCE, Group, Plan, Stack
from goafetch.process import trim_memory

#: Stages at work at a time: what one does in a single process is done beside the tasks of the others.
SIDE_BY_SIDE = 3


@dataclass(frozen=True)
class Stage:
    """A group or stack, what is done with it, and the stages that must have ended before."""

    item: Group | Stack
    act: Callable[[Any, Work, Notify], Outcome]
    needs: tuple[Group | Stack, ...] = ()

    @property
    def title(self) -> str:
        """What the stage is called while it runs."""
        if isinstance(self.item, Stack):
            return f"stack {self.item.name}"
        return f"master {self.item.name}" if self.item.kind == FLAT else f"frames of {self.item.name}"


def stages(plan: Plan, work: Work) -> list[Stage]:
    """The stages of a plan, each after those that it needs; a standard's stack is made beside the science."""
    flats = {work.workspace.playground / group.product: group for group in plan.flats}
    visits = [
        Stage(group, reduce_visit, (flats[group.flat],) if group.flat in flats else ())
        for group in sorted(plan.visits, key=lambda group: group.kind == SCIENCE)
    ]
    # A science stack takes its zeropoint from a standard's.
    last = [
        Stage(stack, make_stack, (*stack.groups, *filter(None, [work.references.standard_of(stack)])))
        for stack in sorted(plan.stacks, key=lambda stack: stack.kind == SCIENCE)
    ]
    return [*(Stage(group, make_flat) for group in plan.flats), *visits, *last]


def execute(plan: Plan, work: Work) -> list[Outcome]:
    """Reduce every group of a plan; one that fails takes only those with it that depend on it."""
    running: dict[Group | Stack, Future[Outcome]] = {}
    work.references.begin(plan.stacks)
    is_new = hash_ahead((frame for group in plan.visits for frame in group.frames), work)
    items: list[Group | Stack] = [*plan.groups(), *plan.stacks]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        try:
            if is_new:  # it will be reduced: what does so is imported beside the reading
                for module in MODULES:
                    threads.submit(import_module, module)
            # In this order a stage that waits for others never keeps them from their turn.
            for stage in stages(plan, work):
                needed = [running[item] for item in stage.needs]
                running[stage.item] = threads.submit(_attempt, stage, needed, work)
            return [running[item].result() for item in items]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            work.pool.abandon()
            raise


def _attempt(stage: Stage, needed: Sequence[Future[Outcome]], work: Work) -> Outcome:
    """Run one stage; whatever goes wrong in it is told, and refuses it alone."""
    for future in needed:
        future.result()
    item, begun = stage.item, time.perf_counter()
    tell = _about(item, work.notify)
    tell(StageBegun(stage.title))
    try:
        outcome = stage.act(item, work, tell)
    except Exception as error:  # told in full, and ends as a refusal with exit code 1
        if work.pool.abandoned:
            raise
        failure = describe(error)
        reason = str(failure)
        if failure is None:
            reason = f"unforeseen {type(error).__name__}: {error}; the details are in reduce.log"
            tell(Fault(traceback.format_exc()))
        tell(Refusal(stage.title, reason))
        outcome = Outcome(item.name, item.kind, REFUSED, reason=reason)
        if isinstance(item, Group):
            work.failed[work.workspace.playground / item.product] = reason
    tell(StageEnded(stage.title))
    work.verified.save()
    work.ledger.save()
    trim_memory()
    return replace(outcome, seconds=time.perf_counter() - begun)


def _about(item: Group | Stack, notify: Notify) -> Notify:
    """A notify that adds to each event the group that it is about."""
    return lambda event: notify(replace(event, group=event.group or item.name))
