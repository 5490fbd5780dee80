"""What a run would make anew, and why: a rehearsal of the stages by their keys alone."""

from __future__ import annotations

from pathlib import Path

from goafetch.pipeline import products
from goafetch.pipeline.stages import (
    FLAT_RECIPE,
    FRAME_RECIPE,
    ONLY_SKY,
    Outcome,
    Work,
    current,
    group_key,
    is_sky,
    stack_key,
)
from goafetch.plan.keys import what_changed
from goafetch.plan.model import FLAT, Group, Plan, Stack
from reducer.headers.same import exposure_name

TO_BE_MADE, CURRENT = "to be made", "current"


def forecast(plan: Plan, work: Work) -> list[Outcome]:
    """An outcome for each stage of a plan, as it would be: what is missing or changed, with the reason."""
    flats = [_flat(group, work) for group in plan.flats]
    visits = {group: _visit(group, work) for group in plan.visits}
    anew = {group for group, outcome in visits.items() if outcome.status == TO_BE_MADE}
    work.references.begin(plan.stacks, seek=False)
    return [*flats, *visits.values(), *(_stack(stack, anew, work) for stack in plan.stacks)]


def _flat(group: Group, work: Work) -> Outcome:
    key = group_key(FLAT_RECIPE, group, work)
    product = work.workspace.playground / group.product
    work.keys[product] = key
    if products.is_current(product, key, work.verified):
        return Outcome(group.name, FLAT, CURRENT, (product,))
    return Outcome(group.name, FLAT, TO_BE_MADE, (product,), _why(product, key, work))


def _visit(group: Group, work: Work) -> Outcome:
    key = group_key(FRAME_RECIPE, group, work)
    refused = work.refused_before.get(key, {})
    done = {frame: current(frame, key, work) for frame in group.frames}
    kept = tuple(product for made in done.values() for product in made)
    work.keys |= dict.fromkeys(kept, key)
    work.on_target[group] = tuple(path for path in kept if path.stem.endswith("_skyCorrected"))
    todo = [frame for frame, made in done.items() if not made and frame.name not in refused]
    if not todo:
        return Outcome(group.name, group.kind, CURRENT, kept)
    places = [place for frame in todo for place in products.of_frame(frame, work.workspace)]
    there = [place for place in places if place.exists()]
    reasons = dict.fromkeys(_why(place, key, work) for place in there)
    missing = len(todo) - len({exposure_name(place) for place in there})
    if missing:
        reasons[f"{missing} of {len(group.frames)} are not there"] = None
    return Outcome(group.name, group.kind, TO_BE_MADE, reason="; ".join(reasons), redone=len(todo))


def _stack(stack: Stack, anew: set[Group], work: Work) -> Outcome:
    if anew & set(stack.groups):
        return Outcome(stack.name, stack.kind, TO_BE_MADE, reason="its frames are to be made")
    frames = [path for group in stack.groups for path in work.on_target.get(group, ())]
    if not frames and is_sky(stack, work):
        return Outcome(stack.name, stack.kind, CURRENT, reason=ONLY_SKY)
    if not frames:
        return Outcome(
            stack.name, stack.kind, TO_BE_MADE, reason="none of its frames could be reduced before"
        )
    key = stack_key(frames, work.references.of_stack(stack, work.parameters, work.notify), work)
    names = [work.workspace.playground / f"{exposure_name(frame)}_image.fits" for frame in frames]
    made = tuple(name for name in names if products.is_current(name, key, work.verified))
    if made:
        work.references.made[stack] = (made[0], key)
        return Outcome(stack.name, stack.kind, CURRENT, made)
    there = [name for name in names if name.exists()] or names[:1]
    return Outcome(stack.name, stack.kind, TO_BE_MADE, tuple(there), _why(there[0], key, work))


def _why(product: Path, key: str, work: Work) -> str:
    """Why a product is not current: it is missing, damaged, or was made from something else."""
    from reducer.errors import BadFile
    from reducer.fitsio import key_of

    if not product.exists():
        return "not there yet"
    try:
        old = key_of(product)
    except BadFile as error:
        return str(error)
    if old == key:
        return "damaged"
    before, now = work.ledger.facts(old), work.ledger.facts(key)
    return what_changed(before, now) if before and now else "made by other means"
