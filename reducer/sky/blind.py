"""Parts of arrays that show no sky: dead, unread or out of line with all else that was exposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from reducer import dq
from reducer.combine import median_of_seen
from reducer.sky.objects import Bool, cell_map
from reducer.types import F32, F64, U16

#: Pixels along a side of the cells that are judged, and between those that are looked at.
CELL, STEP = 64, 4
#: Columns of an output channel where an array is read through four.
CHANNEL = 512
#: Of the read noise, the difference of two pixels below which they are taken for the same, and the part of
#: a cell's pixels that may be so: of noise alone a ninth are.
SAME, MOST_SAME = 0.2, 0.6
#: Of the sky's level, how much darker a cell may be than it (objects add light, none takes it away), and how
#: far a channel may be from what it is in other exposures of the place.
DARK, ODD = 0.5, 0.2
#: Electrons below which neither counts: bias and channel offsets.
FAINT = 30.0
#: Part of an array that must be out of line, and the scatter, relative to it, that a jump has at most.
PART, ALIKE = 0.12, 0.07
#: Fewest exposures of a place among which one can be out of line.
FEWEST = 3
#: Rounds in which the levels of exposures and of arrays are told apart by medians.
ROUNDS = 5
#: Part of an array beyond which it is said to be blind as a whole.
WHOLE = 0.75


@dataclass(frozen=True)
class Cells:
    """An array in cells of 64 pixels: median electrons of each (NaN: hardly a usable pixel), and whether its
    counts are all the same. ``first_column``: the place of its first column on the full array."""

    medians: F32
    still: Bool
    first_column: int

    def times(self, factor: float) -> Cells:
        """As an exposure of ``factor`` times the time would show them."""
        return replace(self, medians=self.medians * np.float32(factor))

    @property
    def channels(self) -> list[slice]:
        """The columns of cells that each output channel reads."""
        number = (self.first_column + np.arange(self.medians.shape[1]) * CELL) // CHANNEL
        starts = [*np.flatnonzero(np.diff(number, prepend=-1)), number.size]
        return [slice(int(a), int(b)) for a, b in pairwise(starts)]


def cells_of(data: F32, mask: U16, raw: F32, noise: float, first_column: int) -> Cells:
    """The cells of an array of which every fourth pixel of every fourth row is given.

    ``data``, ``mask``: electrons as corrected; ``raw``: counts; ``noise``: of reading them, counts.
    All (ny, nx).
    """
    size = CELL // STEP
    usable = mask & dq.UNUSABLE == 0
    with np.errstate(invalid="ignore"):
        same = np.abs(np.diff(raw, axis=1, append=raw[:, -2:-1])) < SAME * noise
    share = cell_means(same, mask & dq.SATURATED == 0, size)
    medians = cell_map(data, usable, size)
    return Cells(medians, np.asarray(share > MOST_SAME), first_column)


def cell_means(values: Bool, known: Bool, size: int) -> F64:
    """The mean of the known values in cells of ``size``; 0 where none is.

    Both (ny, nx); returns (ny / size, nx / size), parts of one.
    """
    height, width = (extent // size for extent in values.shape)
    shape = (height, size, width, size)

    def add(plane: Bool) -> F64:
        return np.asarray(plane[: height * size, : width * size].reshape(shape).sum(axis=(1, 3)), float)

    return add(values & known) / np.maximum(add(known), 1.0)


def find_blind(
    frames: Sequence[Mapping[int, Cells]], places: Sequence[int]
) -> tuple[list[dict[int, Bool]], float]:
    """The cells of each array of exposures of one setting that show no sky, and the sky's level, electrons.

    ``places``: a number for each exposure; those of one number look at the same piece of sky. Levels are of
    one exposure time. A cell is blind
    whose counts are all the same, or which is much darker than the sky; its neighbours may be in part, and
    count as it does. So is a part of an array that is out of line with the same one in the other exposures.
    """
    seen = [{array: np.where(each.still, np.nan, each.medians) for array, each in f.items()} for f in frames]
    levels = [median_of_seen(np.array([float(median_of_seen(each)) for each in f.values()])) for f in seen]
    sky = _sky(np.array(levels, float))
    least = sky - max(DARK * abs(sky), FAINT)
    blind = []
    for frame, cells in zip(frames, seen, strict=True):
        dark = {array: frame[array].still | (each < least) for array, each in cells.items()}
        blind.append({array: ndimage.binary_dilation(each, np.ones((3, 3))) for array, each in dark.items()})
    for place in set(places):
        members = [number for number, other in enumerate(places) if other == place]
        if len(members) >= FEWEST:
            _add_odd([frames[each] for each in members], [blind[each] for each in members])
    return blind, sky


def _sky(levels: F64) -> float:
    """The sky's level: the lowest that two exposures agree on, for a target may fill all of its own; where no
    two agree the median."""
    known = np.sort(levels[levels > FAINT])
    for level in known:
        alike = known[(known >= level) & (known < (1.0 + ODD) * level)]
        if alike.size > 1:
            return float(np.median(alike))
    return float(median_of_seen(levels))


def _add_odd(frames: Sequence[Mapping[int, Cells]], blind: Sequence[dict[int, Bool]]) -> None:
    """Mark, in place, where a good part of an array is out of line with the others of its exposure."""
    whole = _levels(frames, blind)
    for array in sorted(set().union(*frames)):
        have = [place for place, frame in enumerate(frames) if array in frame]
        if len(have) >= FEWEST:
            for place, odd in zip(have, _odd_parts(frames, blind, have, array, whole[have]), strict=True):
                blind[place][array] |= odd


def _levels(frames: Sequence[Mapping[int, Cells]], blind: Sequence[Mapping[int, Bool]]) -> F64:
    """The level of each exposure, electrons, which an odd array or a galaxy does not change."""
    arrays = sorted(set().union(*frames))
    levels = np.array(
        [
            [float(median_of_seen(_darkest(f, b, array))) if array in f else np.nan for array in arrays]
            for f, b in zip(frames, blind, strict=True)
        ]
    )
    whole, usual = np.zeros(len(levels)), np.zeros(len(arrays))
    for _ in range(ROUNDS):
        whole = median_of_seen(levels - usual, axis=1)
        usual = median_of_seen(levels - whole[:, None], axis=0)
    return whole


def _odd_parts(
    frames: Sequence[Mapping[int, Cells]],
    blind: Sequence[Mapping[int, Bool]],
    have: Sequence[int],
    array: int,
    whole: F64,
) -> list[Bool]:
    """The cells of an array that are out of line in each of some exposures.

    Judged by the darkest cell of each row of cells in a channel: what moves in the field hardly covers them.
    A jump is as large everywhere, what a galaxy moves is not.
    """
    levels = np.array([_darkest(frames[place], blind[place], array) for place in have])
    usual = median_of_seen(levels - whole[:, None, None], axis=0)
    away = levels - whole[:, None, None] - usual
    limits = np.maximum(ODD * np.abs(whole), FAINT)
    odd = np.abs(away) > limits[:, None, None]
    channels = frames[have[0]][array].channels
    found = []
    for each, jumps, limit, place in zip(odd, away, limits, have, strict=True):
        cells = np.repeat(each, [part.stop - part.start for part in channels], axis=1)
        wide = bool(each.mean() > PART) and _alike(jumps[each], limit)
        grown = ndimage.binary_dilation(cells, np.ones((3, 3))) if wide else np.zeros_like(cells)
        found.append(np.asarray(grown & ~blind[place][array]))
    return found


def _alike(jumps: F64, limit: float) -> bool:
    """Whether jumps are as large everywhere, and none of them seems so for being cut at the limit."""
    middle = float(np.median(jumps))
    scatter = 1.4826 * float(np.median(np.abs(jumps - middle)))
    return abs(middle) > 1.5 * limit and scatter < ALIKE * abs(middle)


def _darkest(frame: Mapping[int, Cells], blind: Mapping[int, Bool], array: int) -> F64:
    """The darkest cell of each row of cells in each channel, electrons, (rows, channels)."""
    cells = np.where(blind[array] | np.isnan(frame[array].medians), np.inf, frame[array].medians)
    lowest = np.column_stack([cells[:, part].min(axis=1) for part in frame[array].channels])
    return np.where(np.isfinite(lowest), lowest, np.nan).astype(float)


def hide_cells(blind: Bool, mask: U16, first_row: int) -> None:
    """Add, in place, NO_DATA to the pixels of blind cells; ``mask``: from some row of the array on.

    A rest at the edges is as the last cell is. ``blind``: (rows, columns) of cells; ``mask``: (ny, nx).
    """
    rows = np.minimum((first_row + np.arange(mask.shape[0])) // CELL, blind.shape[0] - 1)
    columns = np.minimum(np.arange(mask.shape[1]) // CELL, blind.shape[1] - 1)
    mask |= blind[np.ix_(rows, columns)] * np.uint16(dq.NO_DATA)
