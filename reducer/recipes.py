"""The recipes, each a tuple of steps, and which of them suits which frames."""

from __future__ import annotations

from reducer.frame import Step
from reducer.steps.flat import makeFlat
from reducer.steps.prepare import prepare

Recipe = tuple[Step, ...]

makeProcessedFlat: Recipe = (prepare, makeFlat)
