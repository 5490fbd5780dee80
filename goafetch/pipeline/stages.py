"""The three stages of a plan, each making what is missing or changed of one group and reusing the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calstore.associate import Calibration
from goafetch.errors import GoafetchError
from goafetch.events import Decided, Event, Made, Notify, Refusal, Reused, listener
from goafetch.pipeline import products
from goafetch.pipeline.products import Ledger
from goafetch.pipeline.references import Choices, Given, References
from goafetch.plan.decide import promise
from goafetch.plan.keys import facts_of
from goafetch.plan.model import FLAT, Group, Stack
from goafetch.plan.previous import previous_flat
from goafetch.workspace import Verified, Workspace, md5_of
from reducer.headers.same import exposure_name

if TYPE_CHECKING:
    from goafetch.engine.pool import WorkspacePool
    from goafetch.report.drawing.parts import Parts

Parameters = Mapping[str, Mapping[str, Any]]

FLAT_RECIPE, FRAME_RECIPE, STACK_RECIPE = "makeProcessedFlat", "reduce_nostack", "alignAndStack"
MADE, REUSED, REFUSED, SKY = "made", "reused", "refused", "sky"
#: What is said where a pointing that could have been a target is empty sky.
ONLY_SKY = "its pointing proved to be empty sky, which serves the target's"
#: Stacks that are drawn while others are made: what was drawn is kept until its page is written.
DRAWN_AHEAD = 4
#: Bytes for the pixels of one task unless the user's --memory says otherwise.
TASK_MEMORY = 300_000_000


@dataclass(frozen=True)
class Outcome:
    """What became of a group or stack: 'made', 'reused' or 'refused', its products and the reason; 'sky' for
    the stack of a pointing that proved to be empty sky.

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

    ``memory``: bytes for the pixels of one task. ``refused``: frame -> reason, of frames that a recipe
    refused, from earlier runs under the same key too (``refused_before`` maps a key to them). ``keys``:
    product -> the key that it carries. ``early``: master flats that were made while other files were on
    their way. ``stored``: what the store held when the work began. ``hashes``: files that idle workers read
    for their md5. ``drawn``: stacks that they draw for the report.
    """

    workspace: Workspace
    pool: WorkspacePool
    notify: Notify
    parameters: Parameters
    verified: Verified
    memory: int = TASK_MEMORY
    refused_before: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[Path, str] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    on_target: dict[Group, tuple[Path, ...]] = field(default_factory=dict)
    early: dict[Path, Outcome] = field(default_factory=dict)
    choices: Choices = field(default_factory=Choices)
    stored: Sequence[Calibration] = ()
    hashes: dict[Path, Future[str]] = field(default_factory=dict)
    drawn: dict[Path, Parts] = field(default_factory=dict)
    ledger: Ledger = field(init=False)
    references: References = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.workspace.ledger)
        self.references = References(self.choices, self.workspace)


def make_flat(group: Group, work: Work, notify: Notify) -> Outcome:
    """A master flat from its lamp-on and lamp-off frames, kept in the calibrations' folder too."""
    key = group_key(FLAT_RECIPE, group, work)
    product = work.workspace.playground / group.product
    work.keys[product] = key
    refused = work.refused.setdefault(key, dict(work.refused_before.get(key, {})))
    if products.is_current(product, key, work.verified):
        products.keep_as_calibration(product, work.workspace.calibrations)
        if product in work.early:
            notify(Made(product))
            return work.early[product]
        notify(Reused(product))
        return Outcome(group.name, FLAT, REUSED, (product,))
    previous = previous_flat(promise(group, work.workspace.playground), work.stored)
    refused.clear()
    (made,) = _run(FLAT_RECIPE, group.frames, work, notify, key, refused, bpm=group.bpm, flat=previous)
    # It is called after its first frame; where that was left out, still by the name that was planned.
    made.replace(product)
    products.remember([product], key, work.verified)
    products.keep_as_calibration(product, work.workspace.calibrations)
    return Outcome(group.name, FLAT, MADE, (product,), redone=1)


def reduce_visit(group: Group, work: Work, notify: Notify) -> Outcome:
    """The sky-subtracted frames of one visit and the flat-corrected ones off target."""
    if group.flat in work.failed:
        raise GoafetchError(f"its flat {group.flat.name} could not be made", remedy=work.failed[group.flat])
    key = group_key(FRAME_RECIPE, group, work)
    refused = dict(work.refused_before.get(key, {}))
    todo = [f for f in group.frames if f.name not in refused and not current(f, key, work)]
    if todo:
        wanted = frozenset(name.name for frame in todo for name in products.of_frame(frame, work.workspace))
        calibrations: dict[str, Any] = {"flat": group.flat, "bpm": group.bpm}
        made = _run(FRAME_RECIPE, group.inputs, work, notify, key, refused, **calibrations, wanted=wanted)
        made = [product for product in made if product.name in wanted]
        products.remember(made, key, work.verified)
    work.refused[key] = refused
    done = tuple(p for f in group.frames for p in current(f, key, work))
    for product in done:
        work.keys[product] = key
        if exposure_name(product) not in {exposure_name(f) for f in todo}:
            notify(Reused(product))
    work.on_target[group] = tuple(p for p in done if p.stem.endswith("_skyCorrected"))
    return Outcome(group.name, group.kind, MADE if todo else REUSED, done, redone=len(todo))


def make_stack(stack: Stack, work: Work, notify: Notify) -> Outcome:
    """One image from the sky-subtracted frames of all visits."""
    frames = [path for group in stack.groups for path in work.on_target.get(group, ())]
    if not frames and is_sky(stack, work):
        notify(Decided("no stack of these exposures", ONLY_SKY))
        return Outcome(stack.name, stack.kind, SKY, reason=ONLY_SKY)
    if not frames:
        raise GoafetchError("none of its frames could be reduced", remedy="see the reasons above")
    given = work.references.of_stack(stack, work.parameters, notify)
    key = stack_key(frames, given, work)
    # Named by the first exposure that is in it: not always the first, for some cannot be aligned.
    names = (work.workspace.playground / f"{exposure_name(frame)}_image.fits" for frame in frames)
    made = [name for name in names if products.is_current(name, key, work.verified)]
    refused = dict(work.refused_before.get(key, {})) if made else {}
    status = REUSED if made else MADE
    if made:
        notify(Reused(made[0]))
    else:
        made = _run(STACK_RECIPE, frames, work, notify, key, refused, parameters=given.parameters)
        products.remember(made, key, work.verified)
        _draw(made[0], work)
    work.refused[key] = refused
    work.references.made[stack] = (made[0], key)
    return Outcome(stack.name, stack.kind, status, tuple(made), redone=len(made) if status == MADE else 0)


def _draw(stack: Path, work: Work) -> None:
    """Have a stack drawn for the report by workers that have nothing else to do."""
    from goafetch.report.drawing.parts import begin_parts

    if len(work.drawn) < DRAWN_AHEAD:
        work.drawn[stack] = begin_parts(stack, work.workspace.report, work.pool.when_idle)


# --- what they share ---------------------------------------------------------------------------------


def is_sky(stack: Stack, work: Work) -> bool:
    """Whether all that was made of a stack's exposures is off target, where another pointing may be on it."""
    made = [
        p
        for group in stack.groups
        for frame in group.frames
        for p in products.of_frame(frame, work.workspace)
    ]
    off_target = any(path in work.keys and path.stem.endswith("_flatCorrected") for path in made)
    return off_target and all(group.lent for group in stack.groups)


def current(frame: Path, key: str, work: Work) -> tuple[Path, ...]:
    """The products of a raw frame that carry the key: one, or none."""
    names = products.of_frame(frame, work.workspace)
    return tuple(name for name in names if products.is_current(name, key, work.verified))


def group_key(recipe: str, group: Group, work: Work) -> str:
    """The key of what a recipe makes of a group, by its frames and calibrations."""
    calibrations = {}
    if group.flat is not None:
        calibrations["flat"] = work.keys.get(group.flat) or work.verified.md5(group.flat)
    if group.bpm is not None:
        calibrations["bpm"] = work.verified.md5(group.bpm)
    return work.ledger.enter(facts_of(recipe, md5s(group.inputs, work), calibrations, work.parameters))


def stack_key(frames: Sequence[Path], given: Given, work: Work) -> str:
    """The key of a stack, by those of its frames and the content of catalogues."""
    inputs = {path.name: work.keys[path] for path in frames}
    return work.ledger.enter(facts_of(STACK_RECIPE, inputs, given.contents, work.parameters))


def hash_ahead(files: Iterable[Path], work: Work) -> bool:
    """Have idle workers read the files whose md5 is not known yet; returns whether there are any."""
    new = [path for path in files if work.verified.proof(path) is None]
    work.hashes |= {path: work.pool.when_idle(md5_of, path) for path in new}
    return bool(new)


def md5s(files: Sequence[Path], work: Work) -> dict[str, str]:
    """The md5 of each file by name; those that are not known yet are read by all workers together."""
    unknown = [path for path in files if work.verified.proof(path) is None]
    ahead = {path: work.hashes.pop(path) for path in unknown if path in work.hashes}
    begun = {path: future for path, future in ahead.items() if not future.cancel()}
    todo = [path for path in unknown if path not in begun]
    for path, md5 in zip(todo, work.pool.map(md5_of, todo), strict=True):
        work.verified.remember(path, md5)
    for path, future in begun.items():
        work.verified.remember(path, future.result())
    return {path.name: work.verified.md5(path) for path in files}


def _run(
    recipe: str,
    frames: Sequence[Path],
    work: Work,
    notify: Notify,
    key: str,
    refused: dict[str, str] | None = None,
    **given: Any,
) -> list[Path]:
    """Run a recipe over files; returns the products that it wrote, and notes the frames that it refused."""
    from reducer import recipes
    from reducer.frame import Context
    from reducer.run import open_frames, run_recipe

    given_names = {exposure_name(frame): frame.name for frame in frames}

    def tell(event: Event, /) -> None:
        if isinstance(event, Refusal) and refused is not None:
            # A step may know a frame by the name of what it was to become.
            event = replace(event, name=given_names.get(exposure_name(Path(event.name)), event.name))
            refused[event.name] = event.reason
        notify(event)

    context = Context(
        folder=work.workspace.playground,
        notify=listener(tell),
        map=work.pool.map,
        raw_md5=md5s(frames, work),
        key=key,
        memory=work.memory,
        **{"parameters": work.parameters, **given},
    )
    opened = open_frames(frames, context.notify)
    return [ref.path for ref in run_recipe(getattr(recipes, recipe), opened, context)]
