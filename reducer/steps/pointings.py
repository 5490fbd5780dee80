"""Which of several guided pointings are targets and which empty sky: by the objects that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reducer.frame import Context, FrameRef
from reducer.products import exposure_name
from reducer.sky.empty import Move, Objects, count_objects, find_in_pair, is_poor
from reducer.sky.objects import BLOCK
from reducer.steps.field import shift
from reducer.steps.places import positions

#: Exposures of each pointing that are compared.
COMPARED = 3


def poor_pointings(
    target: Sequence[FrameRef], others: Mapping[int, Sequence[FrameRef]], context: Context
) -> tuple[list[int], str]:
    """The numbers of the pointings that are poor in objects beside the target's, and what was counted."""
    poor, told = [], []
    for number, frames in others.items():
        here, there = compare(target, frames, context)
        if is_poor(there, here):
            poor.append(number)
        kind = "empty sky" if is_poor(there, here) else "a target too"
        shown = f"{there.number} objects on {there.area:.1%} of the field"
        told.append(
            f"the pointing of {exposure_name(frames[0].path)} shows {shown}, the target's {here.number} on "
            f"{here.area:.1%}: {kind}"
        )
    return poor, "; ".join(told)


def compare(
    some: Sequence[FrameRef], others: Sequence[FrameRef], context: Context
) -> tuple[Objects, Objects]:
    """The objects of two pointings in flat-fielded exposures, as many and as deep of both.

    Taken are those that lie nearest to the first of each: of small windows they share the most.
    """
    some, others = _nearest_first(some), _nearest_first(others)
    fewest = min(len(some), len(others))
    number = COMPARED if fewest >= COMPARED else min(2, max(len(some), len(others)))
    ones = [some[place % len(some)] for place in range(number)]
    twos = [others[place % len(others)] for place in range(number)]
    tasks = [(context.disk, one, two) for one, two in zip(ones, twos, strict=True)]
    found = list(context.map(find_in_pair, tasks))
    known = [{array: each.known for array, each in pair.items()} for pair in found]
    return (
        count_objects([{a: each.one for a, each in pair.items()} for pair in found], known, _moves(ones)),
        count_objects([{a: each.other for a, each in pair.items()} for pair in found], known, _moves(twos)),
    )


def _nearest_first(frames: Sequence[FrameRef]) -> list[FrameRef]:
    away = np.hypot(*positions(frames))
    return [frames[place] for place in np.argsort(away, kind="stable")]


def _moves(frames: Sequence[FrameRef]) -> list[dict[int, Move]]:
    """By exposure and array the shift, in blocks, from the first one's sky to each."""
    east, north = positions(frames)
    return [
        {
            array: shift(frame, array, east[0] - east[place], north[0] - north[place], (BLOCK, BLOCK))
            for array in (int(chip["EXTVER"]) for chip in frame.chips)
        }
        for place, frame in enumerate(frames)
    ]
