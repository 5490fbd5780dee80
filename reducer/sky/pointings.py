"""How many objects two pointings show, to one depth: in differences of exposures, free of any pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reducer.combine import median_of
from reducer.frame import Files, FrameRef
from reducer.sky.blocks import bin_array
from reducer.sky.objects import BLOCK, Bool, find_objects

#: What a poor pointing has at most of the target's objects, or of the area that they cover; the area beyond
#: which none is poor; and the target's from which it tells whatever the number of objects.
POOR, RICH, WIDE = 1 / 3, 0.1, 0.1
#: Objects that an empty field of high latitude may show: stars and galaxies to K = 20 in 2 square arcminutes.
EMPTY = 30

Move = tuple[float, float]


@dataclass(frozen=True)
class Objects:
    """What a pointing shows: the number of its objects, and the part of the arrays that they cover."""

    number: int
    area: float


@dataclass(frozen=True)
class PairTask:
    """Compare an exposure of one pointing with one of another, both flat-fielded."""

    disk: Files
    frame: FrameRef
    other: FrameRef


@dataclass(frozen=True)
class Found:
    """The blocks of an array that hold objects of either of two exposures, and those that both show."""

    one: Bool
    other: Bool
    known: Bool


def find_in_pair(task: PairTask) -> dict[int, Found]:
    """The objects of either exposure in each array that both have: where one is brighter than the other."""
    found = {}
    where = {int(chip["EXTVER"]): index for index, chip in enumerate(task.other.chips)}
    for index, chip in enumerate(task.frame.chips):
        array = int(chip["EXTVER"])
        if array in where:
            one = bin_array(task.disk, task.frame, index)
            other = bin_array(task.disk, task.other, where[array])
            known: Bool = (one.counts >= BLOCK) & (other.counts >= BLOCK)
            counts = np.where(known, one.counts, np.uint16(0))
            level = median_of(other.means[known]) if known.any() else 1.0
            scale = median_of(one.means[known]) / level if known.any() and level > 0 else 1.0
            gap = np.where(known, one.means - np.float32(scale) * other.means, np.float32(0))
            found[array] = Found(find_objects(gap, counts, False), find_objects(-gap, counts, False), known)
    return found


def count_objects(
    shown: Sequence[Mapping[int, Bool]],
    known: Sequence[Mapping[int, Bool]],
    moves: Sequence[Mapping[int, Move]],
) -> Objects:
    """The objects that two exposures of a pointing show at one place of the sky: no cosmic ray does.

    ``shown``, ``known``: by exposure and array, blocks with objects and blocks seen; ``moves``: the shift
    (x, y) in blocks from the first exposure's sky to each.
    """
    needed = min(2, len(shown))
    number, area, seen = 0, 0, 0
    for array in set.intersection(*(set(each) for each in shown)):
        objects, whole = (
            np.sum([_laid(e[array], move[array]) for e, move in zip(each, moves, strict=True)], axis=0)
            >= needed
            for each in (shown, known)
        )
        number += int(ndimage.label(objects)[1])
        area += int(objects.sum())
        seen += int(whole.sum())
    return Objects(number, area / max(seen, 1))


def _laid(blocks: Bool, move: Move) -> NDArray[np.uint8]:
    """Blocks moved by whole blocks to where the first exposure shows that piece of sky."""
    shift = (-round(move[1]), -round(move[0]))
    return np.asarray(ndimage.shift(blocks.astype(np.uint8), shift, order=0, mode="constant"), np.uint8)


def is_poor(other: Objects, target: Objects) -> bool:
    """Whether a pointing is empty sky beside the target's: surely fewer objects, or far less area of them.

    One object at most is nothing to make a stack of, however few the target has. Nor does less area tell of
    an empty field where there are more objects than one has.
    """
    if other.area > RICH:
        return False
    fewer = other.number + 2.0 * np.sqrt(other.number + 1.0) < POOR * target.number
    bare = other.number <= 1 and other.number < POOR * target.number
    darker = target.area > WIDE and other.area < POOR * target.area and other.number <= EMPTY
    return bool(fewer or bare or darker)
