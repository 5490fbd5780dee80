"""Carry out a plan: make what is missing or changed, reuse the rest, and account for every group."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch.errors import GoafetchError, describe
from goafetch.events import Notify
from goafetch.pipeline import products
from goafetch.plan.keys import product_key
from goafetch.plan.model import FLAT, Group, Plan, Stack, stem
from goafetch.workspace import Verified, Workspace

if TYPE_CHECKING:
    from goafetch.engine.pool import Pool

Parameters = Mapping[str, Mapping[str, Any]]

FLAT_RECIPE, FRAME_RECIPE, STACK_RECIPE = "makeProcessedFlat", "reduce_nostack", "alignAndStack"
MADE, REUSED, REFUSED = "made", "reused", "refused"


@dataclass(frozen=True)
class Outcome:
    """What became of a group or stack: 'made', 'reused' or 'refused', its products and the reason.

    ``redone`` counts the products that were written in this run.
    """

    name: str
    kind: str
    status: str
    products: tuple[Path, ...] = ()
    reason: str = ""
    redone: int = 0
    seconds: float = 0.0


@dataclass
class Work:
    """All that carrying out a plan needs, and what became known on the way.

    ``refused``: frame -> reason, of frames that a recipe refused, from earlier runs under the same key too
    (``refused_before`` maps a key to them). ``keys``: product -> the key that it carries.
    """

    workspace: Workspace
    pool: Pool
    notify: Notify
    parameters: Parameters
    verified: Verified
    refused_before: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[Path, str] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    on_target: dict[Group, tuple[Path, ...]] = field(default_factory=dict)


def execute(plan: Plan, work: Work) -> list[Outcome]:
    """Reduce every group of a plan; one that fails takes only those with it that depend on it."""
    stages: list[tuple[Group | Stack, Callable[[Any, Work], Outcome]]] = []
    stages += [(group, make_flat) for group in plan.flats]
    stages += [(group, reduce_visit) for group in plan.visits]
    stages += [(stack, make_stack) for stack in plan.stacks]
    outcomes = []
    for item, act in stages:
        work.notify("stage", name=_title(item), group=item.name)
        outcomes.append(_attempt(item, act, work))
        work.notify("done", name=_title(item))
        work.verified.save()
    return outcomes


def _title(item: Group | Stack) -> str:
    if isinstance(item, Stack):
        return f"stack {item.name}"
    return f"master {item.name}" if item.kind == FLAT else f"frames of {item.name}"


def _attempt(item: Group | Stack, act: Callable[[Any, Work], Outcome], work: Work) -> Outcome:
    """Run one stage; whatever goes wrong in it is told, and refuses it alone."""
    begun = time.perf_counter()
    try:
        outcome = act(item, work)
    except Exception as error:  # noqa: BLE001 - told in full, and ends as a refusal with exit code 1
        reason = str(error)
        if describe(error) is None:
            reason = f"unforeseen {type(error).__name__}: {error}; the details are in reduce.log"
            work.notify("fault", trace=traceback.format_exc())
        work.notify("refused", name=_title(item), reason=reason)
        outcome = Outcome(item.name, item.kind, REFUSED, reason=reason)
        if isinstance(item, Group):
            work.failed[work.workspace.playground / item.product] = reason
    return replace(outcome, seconds=time.perf_counter() - begun)


# --- the three stages --------------------------------------------------------------------------------


def make_flat(group: Group, work: Work) -> Outcome:
    """A master flat from its lamp-on and lamp-off frames, kept in the calibrations' folder too."""
    key = _key(FLAT_RECIPE, group, work)
    product = work.workspace.playground / group.product
    work.keys[product] = key
    if products.is_current(product, key, work.verified):
        work.notify("reused", path=product)
        products.keep_as_calibration(product, work.workspace.calibrations)
        return Outcome(group.name, FLAT, REUSED, (product,))
    made = _run(FLAT_RECIPE, group.frames, work, key, bpm=group.bpm)
    products.remember(made, key, work.verified)
    products.keep_as_calibration(product, work.workspace.calibrations)
    return Outcome(group.name, FLAT, MADE, tuple(made), redone=len(made))


def reduce_visit(group: Group, work: Work) -> Outcome:
    """The sky-subtracted frames of one visit and the flat-corrected ones off target."""
    if group.flat in work.failed:
        raise GoafetchError(f"its flat {group.flat.name} could not be made", remedy=work.failed[group.flat])
    key = _key(FRAME_RECIPE, group, work)
    refused = dict(work.refused_before.get(key, {}))
    todo = [f for f in group.frames if f.name not in refused and not _current(f, key, work)]
    if todo:
        wanted = frozenset(name.name for frame in todo for name in products.of_frame(frame, work.workspace))
        made = _run(
            FRAME_RECIPE, group.frames, work, key, refused, flat=group.flat, bpm=group.bpm, wanted=wanted
        )
        products.remember(made, key, work.verified)
    work.refused[key] = refused
    done = tuple(p for f in group.frames for p in _current(f, key, work))
    for product in done:
        work.keys[product] = key
        if stem(product) not in {stem(f) for f in todo}:
            work.notify("reused", path=product)
    work.on_target[group] = tuple(p for p in done if p.stem.endswith("_skyCorrected"))
    return Outcome(group.name, group.kind, MADE if todo else REUSED, done, redone=len(todo))


def make_stack(stack: Stack, work: Work) -> Outcome:
    """One image from the sky-subtracted frames of all visits."""
    frames = [path for group in stack.groups for path in work.on_target.get(group, ())]
    if not frames:
        raise GoafetchError("none of its frames could be reduced", remedy="see the reasons above")
    key = product_key(STACK_RECIPE, {path.name: work.keys[path] for path in frames}, {}, work.parameters)
    # Named by the first exposure that is in it: not always the first, for some cannot be aligned.
    names = (work.workspace.playground / f"{stem(frame)}_image.fits" for frame in frames)
    made = [name for name in names if products.is_current(name, key, work.verified)]
    refused = dict(work.refused_before.get(key, {})) if made else {}
    status = REUSED if made else MADE
    if made:
        work.notify("reused", path=made[0])
    else:
        made = _run(STACK_RECIPE, frames, work, key, refused)
        products.remember(made, key, work.verified)
    work.refused[key] = refused
    return Outcome(stack.name, stack.kind, status, tuple(made), redone=len(made) if status == MADE else 0)


# --- what they share ---------------------------------------------------------------------------------


def _current(frame: Path, key: str, work: Work) -> tuple[Path, ...]:
    """The products of a raw frame that carry the key: one, or none."""
    names = products.of_frame(frame, work.workspace)
    return tuple(name for name in names if products.is_current(name, key, work.verified))


def _key(recipe: str, group: Group, work: Work) -> str:
    calibrations = {}
    if group.flat is not None:
        calibrations["flat"] = work.keys.get(group.flat) or work.verified.md5(group.flat)
    if group.bpm is not None:
        calibrations["bpm"] = work.verified.md5(group.bpm)
    inputs = {frame.name: work.verified.md5(frame) for frame in group.frames}
    return product_key(recipe, inputs, calibrations, work.parameters)


def _run(
    recipe: str,
    frames: Sequence[Path],
    work: Work,
    key: str,
    refused: dict[str, str] | None = None,
    **given: Any,
) -> list[Path]:
    """Run a recipe over files; returns the products that it wrote, and notes the frames that it refused."""
    from reducer import recipes
    from reducer.frame import Context
    from reducer.run import open_frames, run_recipe

    def tell(event: str, /, **facts: object) -> None:
        if event == "refused" and refused is not None:
            refused[str(facts["name"])] = str(facts["reason"])
        work.notify(event, **facts)

    context = Context(
        folder=work.workspace.playground,
        parameters=work.parameters,
        notify=tell,
        map=work.pool.map,
        raw_md5={frame.name: work.verified.md5(frame) for frame in frames},
        key=key,
        **given,
    )
    return [ref.path for ref in run_recipe(getattr(recipes, recipe), open_frames(frames, tell), context)]
