"""The recipes, each a tuple of steps, which of them suits which frames, and what the user sets of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from reducer.errors import BadParameter
from reducer.instruments.base import Instrument
from reducer.products import PROCESSED_DARK
from reducer.step import Step, read_value, steps_of
from reducer.steps.alignment import adjustWCSToReference, detectSources, determineAstrometricSolution
from reducer.steps.correct import correctDetector, correctDetectorAndDark
from reducer.steps.dark import correctDarks, stackDarks
from reducer.steps.flat import makeBPM, makeFlat
from reducer.steps.flux import measureZeropoint, scaleCountsToReference
from reducer.steps.prepare import checkPointings, prepare
from reducer.steps.separate import associateSky, leaveOutSkies, separateSky
from reducer.steps.sky import skyCorrect
from reducer.steps.stacking import maskFromStack, resampleToCommonFrame, stackFrames

Recipe = Sequence[Step]

makeProcessedFlat: Recipe = (prepare, makeFlat)
makeProcessedBPM: Recipe = (prepare, makeBPM)
makeProcessedDark: Recipe = (prepare, correctDarks, stackDarks)
checkWCS: Recipe = (checkPointings,)
reduce_nostack: Recipe = (prepare, correctDetector, separateSky, associateSky, skyCorrect)

alignAndStack: Recipe = (
    detectSources,
    adjustWCSToReference,
    determineAstrometricSolution,
    resampleToCommonFrame,
    scaleCountsToReference,
    measureZeropoint,
    stackFrames,
)
reduce: Recipe = (*reduce_nostack, leaveOutSkies, *alignAndStack)
#: A third pass, with objects masked that only the stack shows.
ultradeep: Recipe = (*reduce_nostack, maskFromStack, skyCorrect, leaveOutSkies, *alignAndStack)

#: The recipes above by name.
RECIPES: Mapping[str, Recipe] = {
    name: recipe for name, recipe in list(vars().items()) if isinstance(recipe, tuple)
}
#: All steps by name, in the order of the recipes.
STEPS: Mapping[str, Step] = {
    name: step
    for recipe in (*RECIPES.values(), (correctDetectorAndDark,))
    for name, step in steps_of(recipe).items()
}


def recipes_of(instrument: Instrument) -> Mapping[str, Recipe]:
    """The recipes for frames of an instrument: its own in place of those that all share."""
    steps = {step.name: step for recipe in RECIPES.values() for step in recipe}
    own = {name: tuple(steps[each] for each in names) for name, names in instrument.recipes.items()}
    return {name: suited(recipe, instrument) for name, recipe in {**RECIPES, **own}.items()}


def suited(recipe: Recipe, instrument: Instrument) -> Recipe:
    """A recipe for frames of an instrument: with the dark subtracted where it has a rule for darks."""
    if PROCESSED_DARK not in instrument.calibrations:
        return recipe
    return tuple(correctDetectorAndDark if step is correctDetector else step for step in recipe)


def default_recipe(instrument: Instrument, tags: frozenset[str]) -> str:
    """The name of the recipe that suits frames of an instrument with these tags."""
    return next(name for tag, name in instrument.recipe_of_tag.items() if tag in tags or not tag)


# --- what the user sets of steps ---------------------------------------------------------------------


def parse(
    pairs: Iterable[tuple[str, Any]], recipe: Sequence[Callable[..., Any]] = ()
) -> dict[str, dict[str, Any]]:
    """Turn ('skyCorrect:offset_sky', 'False') pairs into step -> parameter -> value.

    Steps and parameters may be written with underscores and in any case. A parameter without a step
    is set for every step that has it. ``recipe``: one with steps of the user's own. BadParameter names what
    is known.
    """
    steps = {**STEPS, **steps_of(recipe)}
    found: dict[str, dict[str, Any]] = {}
    for name, given in pairs:
        step, colon, parameter = name.rpartition(":")
        for each in [known_name(step, steps, "step")] if colon else _steps_with(parameter, steps):
            wanted = _parameter_of(steps[each], parameter, steps)
            found.setdefault(each, {})[wanted] = _read(steps[each], wanted, given)
    return found


def as_pairs(chosen: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """What ``parse`` makes, as it takes it."""
    return [(f"{step}:{name}", value) for step, each in chosen.items() for name, value in each.items()]


def known_name(name: str, known: Iterable[str], what: str) -> str:
    """The name that is meant, in any case; BadParameter, with the likeliest, for one that is not known."""
    choices = {_plain(candidate): candidate for candidate in known}
    if _plain(name) in choices:
        return choices[_plain(name)]
    near = get_close_matches(_plain(name), choices, 1)
    hint = f"did you mean {choices[near[0]]}?" if near else ""
    raise BadParameter(f"no {what} is called '{name}'", f"one of {', '.join(choices.values())}", hint)


def _plain(name: str) -> str:
    return name.replace("_", "").strip().lower()


def _parameter_of(step: Step, name: str, steps: Mapping[str, Step]) -> str:
    """A parameter's own name; BadParameter, too, where a step cannot be left out, with the reason."""
    wanted = known_name(name, [*step.known, "skip_primitive"], f"parameter of {step.name}")
    if wanted not in step.known:
        others = ", ".join(each.name for each in steps.values() if wanted in each.known)
        found = f"{step.name}:{wanted}: {step.name} cannot be left out: {step.cannot_skip}"
        raise BadParameter(found, f"one of {others}")
    return wanted


def _steps_with(parameter: str, steps: Mapping[str, Step]) -> list[str]:
    found = [name for name, step in steps.items() if _plain(parameter) in map(_plain, step.parameters)]
    if not found:
        every = sorted({name for step in steps.values() for name in step.parameters})
        raise BadParameter(f"no step has a parameter '{parameter}'", f"one of {', '.join(every)}")
    return found


def _read(step: Step, name: str, given: Any) -> Any:
    known = step.known[name]
    try:
        return read_value(known.kind, given)
    except ValueError as error:
        raise BadParameter(f"{step.name}:{name}={given}", f"{error} ({known.meaning})") from error
