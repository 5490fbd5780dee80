"""The recipes, each a tuple of steps, and which of them suits which frames."""

from __future__ import annotations

from reducer.align.adjust import adjustWCSToReference
from reducer.frame import Step
from reducer.stacking import resampleToCommonFrame, stackFrames
from reducer.steps.correct import correctDetector
from reducer.steps.detect import detectSources
from reducer.steps.flat import makeFlat
from reducer.steps.photometry import scaleCountsToReference
from reducer.steps.prepare import prepare
from reducer.steps.separate import associateSky, separateSky
from reducer.steps.sky import skyCorrect

Recipe = tuple[Step, ...]

makeProcessedFlat: Recipe = (prepare, makeFlat)
reduce_nostack: Recipe = (prepare, separateSky, correctDetector, associateSky, skyCorrect)
alignAndStack: Recipe = (
    detectSources,
    adjustWCSToReference,
    resampleToCommonFrame,
    scaleCountsToReference,
    stackFrames,
)
reduce: Recipe = (*reduce_nostack, *alignAndStack)
