"""How empty skies are: objects that their dither does not move out, and how many a pointing shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reducer.combine import median_of, median_of_seen
from reducer.frame import Files, FrameRef
from reducer.sky.objects import BLOCK, Bool, Packed, bin_array, find_objects, read_blocks, unpack_mask
from reducer.types import F32, F64

# --- objects in all skies, told from the detector's own pattern ------------------------------------

#: Blocks along the side of the squares in which exposures are compared.
SQUARE = 9
#: Light of a square, relative to the level, that is looked at however wide it is.
WIDE = 0.01
#: Part of the exposures that must show a place of the sky for it to be judged, and blocks within which what
#: tells nothing is taken for what is nearest.
MOST, NEAR = 0.75, 24.0
#: Blocks that exposures must be apart for anything to be told.
APART = 1.0
#: The variance on the detector over that on the sky below which what stands out is the detector's; and the
#: reverse, below which wide light is the sky's.
DETECTOR, SKY = 0.9, 0.8
#: Part of an array beyond which objects fill it.
FILLED = 0.5
#: What varies more than this many times the noise's variance, or this part of its light, is no detector's.
QUIET, STEADY = 2.0, 0.03

Cube = NDArray[np.floating]
Move = tuple[float, float]


def find_fixed(task: tuple[Files, int, Sequence[tuple[Path, float, Packed]], Sequence[Move]]) -> Bool:
    """The blocks of an array that no sky shows free of objects of the sky.

    Of each sky: where it is in blocks, its level, electrons, and its objects as judged against their
    surroundings; and the shift (x, y) in blocks from the first one's sky to it.
    """
    disk, array, skies, moves = task
    means, known, hidden, wide = [], [], [], []
    for path, level, packed in skies:
        blocks = read_blocks(disk, path, array)
        seen, objects = blocks.counts >= BLOCK, unpack_mask(packed)
        light = np.where(seen, blocks.means - np.float32(level), np.float32(0))
        means.append(light)
        known.append(seen)
        hidden.append(objects)
        bright = ndimage.uniform_filter(light, SQUARE, mode="nearest") > WIDE * level
        wide.append(objects | bright | find_objects(blocks.means, blocks.counts, local=False))
    return tell_fixed(np.array(means), np.array(known), np.array(hidden), np.array(wide), moves)


def tell_fixed(means: F32, known: Bool, hidden: Bool, wide: Bool, moves: Sequence[Move]) -> Bool:
    """Which blocks hold an object of the sky in all exposures; all planes are (skies, ny, nx).

    ``means``: electrons without the level; ``hidden``: what stands out from its surroundings, ``wide``: that
    and what stands out from a plane. What agrees better where exposures are laid over each other on the
    detector is the detector's own; on the sky, an object. What tells nothing is as its surroundings are;
    where all of it tells nothing what stands out is taken for an object.
    """
    seen: Bool = np.any(known, axis=0)
    compact: Bool = seen & np.all(hidden | ~known, axis=0)
    broad: Bool = seen & np.all(wide | ~known, axis=0)
    if not broad.any():
        return broad
    if len(means) < 2 or np.hypot(*np.ptp(moves, axis=0)) < APART:
        return compact
    on_detector, on_sky = (
        _variance(means, known, shifts) for shifts in (np.zeros((len(means), 2)), np.array(moves))
    )
    light = ndimage.uniform_filter(np.abs(means.mean(axis=0)), SQUARE, mode="nearest")
    told = seen & np.isfinite(on_detector)
    if not told.any():
        return compact
    noise2 = float(np.percentile(on_detector[told], 10))
    steady = on_detector < QUIET * noise2 + (STEADY * light) ** 2
    own = steady & (on_detector < DETECTOR * on_sky) & (compact | np.isfinite(on_sky))
    moving = ~steady | (on_sky < SKY * on_detector)
    clear = broad & (own | moving)
    if not clear.any():
        return compact
    away, (row, column) = ndimage.distance_transform_edt(~clear, return_indices=True)
    near = away <= NEAR
    objects: Bool = (broad & near & moving[row, column]) | (compact & ~near)
    # Where they cover most of an array their light is in the rest of it as well.
    return np.ones_like(objects) if objects.mean() > FILLED else objects


def _variance(means: F32, known: Bool, moves: F64) -> F64:
    """Variance of exposures about their median, each shifted, in squares around each block of the detector.

    The median of their squares: one that shows something of its own does not count. Infinite where not most
    of them show the same: what is in all of them there is not of the sky.
    """
    seen = np.where(known, means, np.nan)
    laid = np.array([_shifted(image, -move) for image, move in zip(seen, moves, strict=True)])
    enough = np.isfinite(laid).sum(axis=0) > MOST * len(means)
    told = np.where(enough, median_of_seen(laid, axis=0), np.nan)
    gaps = np.array([image - _shifted(told, move) for image, move in zip(seen, moves, strict=True)])
    squares = median_of_seen(gaps**2, axis=0)
    told_here = np.isfinite(squares)
    total = ndimage.uniform_filter(np.where(told_here, squares, 0.0), SQUARE, mode="nearest")
    part = ndimage.uniform_filter(told_here.astype(float), SQUARE, mode="nearest")
    return np.where(part > 0.5, total / np.maximum(part, 0.5), np.inf)


def _shifted(plane: Cube, move: F64) -> F64:
    """A plane whose content is moved by (x, y) blocks; NaN beyond its edges."""
    if not np.any(move):
        return np.asarray(plane, float)
    return np.asarray(ndimage.shift(plane, (move[1], move[0]), order=1, mode="constant", cval=np.nan), float)


# --- objects of two pointings, to one depth: in differences of exposures, free of any pattern ------

#: What a poor pointing has at most of the target's objects, or of the area that they cover; the area beyond
#: which none is poor; and the target's from which it tells whatever the number of objects.
POOR, RICH, LARGE = 1 / 3, 0.1, 0.1
#: Objects that an empty field of high latitude may show: stars and galaxies to K = 20 in 2 square arcminutes.
EMPTY = 30


@dataclass(frozen=True)
class Objects:
    """What a pointing shows: the number of its objects, and the part of the arrays that they cover."""

    number: int
    area: float


@dataclass(frozen=True)
class Found:
    """The blocks of an array that hold objects of either of two exposures, and those that both show."""

    one: Bool
    other: Bool
    known: Bool


def find_in_pair(task: tuple[Files, FrameRef, FrameRef]) -> dict[int, Found]:
    """The objects of either of two flat-fielded exposures in each array that both have: where one is brighter
    than the other."""
    disk, frame, beside = task
    found = {}
    where = {int(chip["EXTVER"]): index for index, chip in enumerate(beside.chips)}
    for index, chip in enumerate(frame.chips):
        array = int(chip["EXTVER"])
        if array in where:
            one = bin_array(disk, frame, index)
            other = bin_array(disk, beside, where[array])
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
    darker = target.area > LARGE and other.area < POOR * target.area and other.number <= EMPTY
    return bool(fewer or bare or darker)
