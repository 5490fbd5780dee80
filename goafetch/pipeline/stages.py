"""The stages of a plan, each making what is missing or changed of one group and reusing the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calstore.associate import Calibration
from goafetch.errors import GoafetchError
from goafetch.events import Decided, Event, Made, Notify, Refusal, Reused, event_of, silent, why_in_full
from goafetch.pipeline.cache import Cache, keep_as_calibration, of_frame, what_changed
from goafetch.pipeline.catalogues import Given, shows_another_field
from goafetch.plan.decide import promise
from goafetch.plan.plan import DARK, FLAT, MASTERS, Group, Stack
from goafetch.plan.translate import previous_flat
from goafetch.workspace import Workspace, md5_of
from reducer.products import OFF_TARGET, ON_TARGET, STACK, exposure_name

if TYPE_CHECKING:
    from goafetch.engine.pool import WorkspacePool
    from goafetch.report.page import PageParts
    from reducer.recipes import Recipe

Parameters = Mapping[str, Mapping[str, Any]]

MADE, REUSED, REFUSED, SKY = "made", "reused", "refused", "sky"
#: Of a rehearsal.
TO_BE_MADE, CURRENT = "to be made", "current"
#: What is said where a pointing that could have been a target is empty sky.
ONLY_SKY = "its pointing proved to be empty sky, which serves the target's"
#: Bytes for the pixels of one task unless the user's --memory says otherwise.
TASK_MEMORY = 300_000_000


@dataclass(frozen=True)
class StageRecipe:
    """The recipe of a stage of a run: its name; its steps where they are not those of that name; the user's
    own file that holds it, and those beside it that it imports."""

    name: str
    own: Recipe = ()
    files: tuple[Path, ...] = ()

    @property
    def file(self) -> Path | None:
        """The file that holds it, None where it is one of ours."""
        return self.files[0] if self.files else None

    def steps(self, instrument: str) -> Recipe:
        """Its steps for frames of an instrument: what makes pixels is imported with them."""
        from reducer.instruments import KNOWN
        from reducer.recipes import recipes_of, suited

        known = KNOWN[instrument]
        return suited(self.own, known) if self.own else recipes_of(known)[self.name]


#: What each stage of a run does unless the user has another recipe for it.
DARKS, FLATS, FRAMES, STACKS = "darks", "flats", "frames", "stacks"
USUAL: Mapping[str, StageRecipe] = {
    DARKS: StageRecipe("makeProcessedDark"),
    FLATS: StageRecipe("makeProcessedFlat"),
    FRAMES: StageRecipe("reduce_nostack"),
    STACKS: StageRecipe("alignAndStack"),
}
#: The stages that make calibrations, by the kind of their groups.
STAGE_OF: Mapping[str, str] = {DARK: DARKS, FLAT: FLATS}


@dataclass(frozen=True)
class Tools:
    """What every stage of a run works with: folders, workers, what is known of products, the user's
    parameters, bytes for the pixels of one task, and the stages' recipes; in a ``rehearsal`` none is made."""

    workspace: Workspace
    pool: WorkspacePool
    cache: Cache
    parameters: Parameters
    memory: int = TASK_MEMORY
    recipes: Mapping[str, StageRecipe] = field(default_factory=lambda: USUAL)
    rehearsal: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a group or stack: 'made', 'reused' or 'refused', its products and the reason; 'sky' for
    the stack of a pointing that proved to be empty sky.

    ``redone`` counts the products that were written in this run. ``key``: what the products carry. ``told``:
    what was told while they were made, in this run or an earlier one. ``drawn``: its figures.
    """

    name: str
    kind: str
    status: str
    products: tuple[Path, ...] = ()
    reason: str = ""
    redone: int = 0
    seconds: float = 0.0
    key: str = ""
    told: tuple[Event, ...] = ()
    drawn: PageParts | None = None

    @property
    def refused(self) -> dict[str, str]:
        """The frames that the recipe refused, and why."""
        return {event.name: why_in_full(event) for event in self.told if isinstance(event, Refusal)}

    @property
    def on_target(self) -> tuple[Path, ...]:
        """The frames of a visit that are stacked."""
        return tuple(path for path in self.products if path.stem.endswith(ON_TARGET))

    @property
    def off_target(self) -> tuple[Path, ...]:
        """The frames of a visit that served as sky."""
        return tuple(path for path in self.products if path.stem.endswith(OFF_TARGET))


def make_master(
    group: Group,
    tools: Tools,
    notify: Notify,
    masters: Mapping[Path, Outcome],
    stored: Sequence[Calibration],
    ahead: Outcome | None = None,
) -> Outcome:
    """A master flat or dark from its frames, kept in the calibrations' folder too.

    ``masters``: what became of those that it needs, by path, where this run makes them; ``stored``: flats
    that it may be compared with; ``ahead``: what became of it while files were fetched.
    """
    _check(masters)
    key, product = group_key(group, masters, tools), tools.workspace.playground / group.product
    is_current = tools.cache.is_current(product, key)
    if tools.rehearsal:
        return _foreseen(group, key, (product,), "" if is_current else _why(product, key, tools))
    if is_current and ahead is not None and ahead.key == key:
        notify(Made(product))
        return ahead
    if is_current:
        notify(Reused(product))
    else:
        given = {"bpm": group.bpm, "dark": group.dark}
        if group.kind == FLAT:
            given["flat"] = previous_flat(promise(group, tools.workspace.playground), stored)
        (made,) = _run(STAGE_OF[group.kind], group.frames, tools, notify, key, **given)
        # It is called after its first frame; where that was left out, still by the name that was planned.
        made.replace(product)
        tools.cache.remember([product], key)
    keep_as_calibration(product, tools.workspace.calibrations, MASTERS[group.kind])
    status = REUSED if is_current else MADE
    return Outcome(group.name, group.kind, status, (product,), redone=not is_current, key=key)


def reduce_visit(group: Group, tools: Tools, notify: Notify, masters: Mapping[Path, Outcome]) -> Outcome:
    """The sky-subtracted frames of one visit and the flat-corrected ones off target.

    ``masters``: what became of its master flat and dark, by path, where this run makes them.
    """
    _check(masters)
    key = group_key(group, masters, tools)
    todo = _missing(group, key, tools)
    if tools.rehearsal:
        why, done = _why_missing(group, todo, key, tools), () if todo else _done(group, key, tools)
        return _foreseen(group, key, done, why, redone=len(todo))
    if todo:
        wanted = frozenset(name.name for frame in todo for name in of_frame(frame, tools.workspace))
        calibrations = {"dark": group.dark, "flat": group.flat, "bpm": group.bpm, "wanted": wanted}
        made = _run(FRAMES, group.inputs, tools, notify, key, **calibrations)
        tools.cache.remember((product for product in made if product.name in wanted), key)
    done = _done(group, key, tools)
    new = {exposure_name(frame) for frame in todo}
    for product in done:
        if exposure_name(product) not in new:
            notify(Reused(product))
    return Outcome(group.name, group.kind, MADE if todo else REUSED, done, redone=len(todo), key=key)


def make_stack(
    stack: Stack, tools: Tools, notify: Notify, visits: Sequence[Outcome], find: Callable[[], Given]
) -> Outcome:
    """One image from the sky-subtracted frames of all visits, with the files that it finds."""
    tools = replace(tools, parameters=own_parameters(stack, tools, notify))
    frames = [path for visit in visits for path in visit.on_target]
    if tools.rehearsal and any(visit.status == TO_BE_MADE for visit in visits):
        return _foreseen(stack, "", (), "its frames are to be made")
    if not frames and is_empty_sky(stack, visits):
        if not tools.rehearsal:
            notify(Decided("no stack of these exposures", ONLY_SKY))
        return Outcome(stack.name, stack.kind, CURRENT if tools.rehearsal else SKY, reason=ONLY_SKY)
    if not frames and tools.rehearsal:
        return _foreseen(stack, "", (), "none of its frames could be reduced before")
    if not frames:
        raise GoafetchError("none of its frames could be reduced", remedy="see the reasons above")
    given = find()
    key = stack_key(stack, visits, given, tools)
    names = _stack_names(frames, tools)
    current = next((name for name in names if tools.cache.is_current(name, key)), None)
    if tools.rehearsal:
        there = current or next((name for name in names if name.exists()), names[0])
        return _foreseen(stack, key, (there,), "" if current else _why(there, key, tools))
    if current:
        notify(Reused(current))
        return Outcome(stack.name, stack.kind, REUSED, (current,), key=key)
    made = _run(STACKS, frames, tools, notify, key, parameters=given.parameters)
    tools.cache.remember(made, key)
    return Outcome(stack.name, stack.kind, MADE, tuple(made), redone=len(made), key=key)


# --- what a run would make anew, and why, by keys alone -----------------------------------------------


def _foreseen(
    item: Group | Stack, key: str, products: tuple[Path, ...], reason: str, redone: int = 0
) -> Outcome:
    """What would become of a group or stack: it is current, unless there is a reason to make it."""
    status = TO_BE_MADE if reason else CURRENT
    return Outcome(item.name, item.kind, status, products, reason, redone, key=key)


def _why_missing(group: Group, todo: Sequence[Path], key: str, tools: Tools) -> str:
    """Why some products of a visit's frames are to be made; '' where none is."""
    there = [place for frame in todo for place in of_frame(frame, tools.workspace) if place.exists()]
    reasons = dict.fromkeys(_why(place, key, tools) for place in there)
    missing = len(todo) - len({exposure_name(place) for place in there})
    if missing:
        reasons[f"{missing} of {len(group.frames)} are not there"] = None
    return "; ".join(reasons)


def _why(product: Path, key: str, tools: Tools) -> str:
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
    before, now = tools.cache.facts(old), tools.cache.facts(key)
    return what_changed(before, now) if before and now else "made by other means"


# --- what they share ---------------------------------------------------------------------------------


def own_parameters(stack: Stack, tools: Tools, notify: Notify = silent) -> Parameters:
    """The user's parameters as they concern a stack: the reference of others has none itself, nor has a stack
    of another field, which is told."""
    name = "resampleToCommonFrame"
    reference = tools.parameters.get(name, {}).get("reference")
    if not reference:
        return tools.parameters
    own = _stack_names([path for group in stack.groups for path in group.frames], tools)
    is_elsewhere = shows_another_field(Path(reference), stack)
    if not is_elsewhere and Path(reference).resolve() not in [path.resolve() for path in own]:
        return tools.parameters
    if is_elsewhere and not tools.rehearsal:
        notify(Decided("pixels of its own", f"{Path(reference).name} shows another field"))
    others = {key: value for key, value in tools.parameters[name].items() if key != "reference"}
    return {**tools.parameters, name: others}


def is_empty_sky(stack: Stack, visits: Sequence[Outcome]) -> bool:
    """Whether all that was made of a stack's exposures is off target, where another pointing may be on it."""
    return any(visit.off_target for visit in visits) and all(group.lent for group in stack.groups)


def _check(masters: Mapping[Path, Outcome]) -> None:
    """GoafetchError where a calibration that is needed could not be made."""
    for path, made in masters.items():
        if made.status == REFUSED:
            raise GoafetchError(f"its {made.kind} {path.name} could not be made", remedy="see its reason")


def group_key(group: Group, masters: Mapping[Path, Outcome], tools: Tools) -> str:
    """The key of what is made of a group: by its frames, the keys of what this run makes for it, and the
    content of other calibrations."""
    stage = STAGE_OF.get(group.kind, FRAMES)
    used = {"dark": group.dark, "flat": group.flat, "bpm": group.bpm}
    for step, name in (("addDQ", "user_bpm"), ("skyCorrect", "sky")):
        own = tools.parameters.get(step, {}).get(name)
        if own and group.kind not in MASTERS:
            used[name] = Path(own).absolute()
    calibrations = {
        role: masters[path].key if path in masters else tools.cache.verified.md5(path)
        for role, path in used.items()
        if path is not None
    }
    return _key(stage, group.setup.instrument, tools.cache.md5s(group.inputs), calibrations, tools)


def stack_key(stack: Stack, visits: Sequence[Outcome], given: Given, tools: Tools) -> str:
    """The key of a stack, by those of its frames and the content of catalogues."""
    inputs = {path.name: visit.key for visit in visits for path in visit.on_target}
    return _key(STACKS, stack.setup.instrument, inputs, given.contents, tools)


def _key(
    stage: str, instrument: str, inputs: Mapping[str, str], calibrations: Mapping[str, str], tools: Tools
) -> str:
    """The key of what a stage makes of inputs; of the user's parameters those of its steps concern it."""
    recipe, concerning = tools.recipes[stage], {}
    if tools.parameters:  # else nothing need be imported to tell
        from reducer.step import steps_of

        concerning = {name: tools.parameters.get(name, {}) for name in steps_of(recipe.steps(instrument))}
    files = {"recipe" if file == recipe.file else file.name: md5_of(file) for file in recipe.files}
    return tools.cache.enter(recipe.name, inputs, {**calibrations, **files}, concerning)


def _stack_names(frames: Sequence[Path], tools: Tools) -> list[Path]:
    """What a stack may be called: by the first exposure that is in it, for some cannot be aligned."""
    return [tools.workspace.playground / f"{exposure_name(frame)}{STACK}.fits" for frame in frames]


def _done(group: Group, key: str, tools: Tools) -> tuple[Path, ...]:
    """The products of a visit's frames that carry the key."""
    places = (place for frame in group.frames for place in of_frame(frame, tools.workspace))
    return tuple(place for place in places if tools.cache.is_current(place, key))


def _missing(group: Group, key: str, tools: Tools) -> list[Path]:
    """The frames of a visit without a product that carries the key, and that were not refused under it."""
    done = {exposure_name(product) for product in _done(group, key, tools)}
    refused = {event.name for event in tools.cache.told(key) if isinstance(event, Refusal)}
    return [frame for frame in group.frames if exposure_name(frame) not in done and frame.name not in refused]


def _run(
    stage: str, frames: Sequence[Path], tools: Tools, notify: Notify, key: str, **given: Any
) -> list[Path]:
    """Run a stage's recipe over files; returns the products that it wrote."""
    from reducer.frame import Context
    from reducer.run import open_frames, run_recipe

    recipe, given_names = tools.recipes[stage], {exposure_name(frame): frame.name for frame in frames}

    def tell(kind: str, /, **facts: Any) -> None:
        event = event_of(kind, facts)
        if isinstance(event, Refusal):
            # A step may know a frame by the name of what it was to become.
            event = replace(event, name=given_names.get(exposure_name(Path(event.name)), event.name))
        notify(event)

    context = Context(
        folder=tools.workspace.playground,
        notify=tell,
        map=tools.pool.map,
        raw_md5=tools.cache.md5s(frames),
        key=key,
        memory=tools.memory,
        recipe_file=recipe.file,
        **{"parameters": tools.parameters, **given},
    )
    opened = open_frames(frames, context.notify)
    return [ref.path for ref in run_recipe(recipe.steps(opened[0].instrument.name), opened, context)]
