"""The recipes, each a tuple of steps, and which of them suits which frames."""

from __future__ import annotations

from reducer.frame import Step
from reducer.steps.correct import correctDetector
from reducer.steps.flat import makeFlat
from reducer.steps.prepare import prepare
from reducer.steps.separate import associateSky, separateSky
from reducer.steps.sky import skyCorrect

Recipe = tuple[Step, ...]

makeProcessedFlat: Recipe = (prepare, makeFlat)
reduce_nostack: Recipe = (prepare, separateSky, correctDetector, associateSky, skyCorrect)
