"""The recipes, each a tuple of steps, and which of them suits which frames."""

from __future__ import annotations

from collections.abc import Mapping

from reducer.align.absolute import determineAstrometricSolution
from reducer.align.together import adjustWCSToReference
from reducer.deep import maskFromStack
from reducer.frame import Step
from reducer.photometry.standard import measureZeropoint
from reducer.stack.blocks import resampleToCommonFrame, stackFrames
from reducer.steps.badpix import makeBPM
from reducer.steps.correct import correctDetector
from reducer.steps.detect import detectSources
from reducer.steps.flat import makeFlat
from reducer.steps.photometry import scaleCountsToReference
from reducer.steps.prepare import checkPointings, prepare
from reducer.steps.separate import associateSky, leaveOutSkies, separateSky
from reducer.steps.sky import skyCorrect

Recipe = tuple[Step, ...]

makeProcessedFlat: Recipe = (prepare, makeFlat)
makeProcessedBPM: Recipe = (prepare, makeBPM)
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

RECIPES: Mapping[str, Recipe] = {
    "makeProcessedFlat": makeProcessedFlat,
    "makeProcessedBPM": makeProcessedBPM,
    "checkWCS": checkWCS,
    "reduce_nostack": reduce_nostack,
    "alignAndStack": alignAndStack,
    "reduce": reduce,
    "ultradeep": ultradeep,
}


def default_recipe(tags: frozenset[str]) -> str:
    """The recipe that suits frames of these tags: flats and darks make calibrations."""
    if "DARK" in tags:
        return "makeProcessedBPM"
    return "makeProcessedFlat" if "FLAT" in tags else "reduce_nostack"
