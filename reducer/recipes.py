"""The recipes, each a tuple of steps, and which of them suits which frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reducer.instruments.base import Instrument
from reducer.products import PROCESSED_DARK
from reducer.step import Step, steps_of
from reducer.steps.absolute_astrometry import determineAstrometricSolution
from reducer.steps.badpix import makeBPM
from reducer.steps.correct import correctDetector, correctDetectorAndDark
from reducer.steps.dark import correctDarks, stackDarks
from reducer.steps.deep import maskFromStack
from reducer.steps.detect import detectSources
from reducer.steps.flat import makeFlat
from reducer.steps.flux_scale import scaleCountsToReference
from reducer.steps.measure_zeropoint import measureZeropoint
from reducer.steps.prepare import checkPointings, prepare
from reducer.steps.relative_alignment import adjustWCSToReference
from reducer.steps.separate import associateSky, leaveOutSkies, separateSky
from reducer.steps.sky import skyCorrect
from reducer.steps.stacking import resampleToCommonFrame, stackFrames

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
