"""Offsets of the readout channels in one exposure of the sky, told from gradients and known light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer.instruments.base import Array
from reducer.region import Region
from reducer.sky.columns import WIDTHS, find_width
from reducer.sky.objects import BLOCK, scatter
from reducer.types import F32, F64

Bool = NDArray[np.bool_]

#: Blocks (of 4x4 pixels) in a cell, rows and columns: 16 pixel columns, so that channels hold whole cells.
CELL_ROWS, CELL_COLUMNS = 8, 4
#: Columns of pixels in a cell.
STEP = BLOCK * CELL_COLUMNS
#: Expected size of an offset, electrons.
TYPICAL = 2.0
#: Standard deviations beyond which a cell does not count.
CLIP = 3.0
#: Free pixels a channel needs for its offset to be measured.
FEWEST = 4000.0
#: Weight of a cell (its free fraction, or less) below which it does not count.
LEAST = 0.05


@dataclass(frozen=True)
class Strips:
    """Free sky of one array in cells: mean electrons and the free fraction of each, (rows, columns).

    ``where``: the part of the array that they show.
    """

    values: F64
    weights: F64
    where: Region
    array: Array

    def less(self, light: F64 | float) -> Strips:
        """The cells without some light, electrons: of each cell, each column, or all."""
        return replace(self, values=self.values - light)


@dataclass(frozen=True)
class Fit:
    """What a fit found in an exposure, by array: channel offsets for each column, (nx,), with zero mean in
    the array; the smooth light, (rows, columns) of cells; what is left of each cell. All in electrons."""

    offsets: Mapping[int, F32]
    smooth: Mapping[int, F64]
    residual: Mapping[int, F64]


def strips_of(means: F32, free: Bool, where: Region, array: Array) -> Strips:
    """Cells from blocks of 4x4 pixels and which of them are free."""
    shape = (means.shape[0] // CELL_ROWS, means.shape[1] // CELL_COLUMNS)
    values, weights = np.zeros(shape), np.zeros(shape)
    _fill_cells(means, free, values, weights)
    return Strips(values, weights, where, array)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill_cells(means: F32, free: Bool, values: F64, weights: F64) -> None:
    """Means of the free blocks of each cell, and the fraction that is free."""
    for y in range(values.shape[0] * CELL_ROWS):
        for x in range(values.shape[1] * CELL_COLUMNS):
            if free[y, x]:
                values[y // CELL_ROWS, x // CELL_COLUMNS] += means[y, x]
                weights[y // CELL_ROWS, x // CELL_COLUMNS] += 1.0
    values /= np.maximum(weights, 1.0)
    weights /= CELL_ROWS * CELL_COLUMNS


def channel_width(exposures: Sequence[Mapping[int, Strips]]) -> int:
    """Columns of a channel, 64 or 512: what most arrays of most exposures show."""
    votes = [
        find_width(_profile(strips), strips.where.x1, STEP)
        for exposure in exposures
        for strips in exposure.values()
    ]
    return max(WIDTHS, key=votes.count)


def _profile(strips: Strips) -> F64:
    """Mean of each column of cells without the array's plane."""
    flat = _planes({1: strips})
    values, weights = strips.values.ravel(), strips.weights.ravel()
    normal = flat.T @ (flat * weights[:, None]) + 1e-9 * np.eye(flat.shape[1])
    residual = values - flat @ np.linalg.solve(normal, flat.T @ (values * weights))
    total = (residual * weights).reshape(strips.values.shape).sum(axis=0)
    weight = strips.weights.sum(axis=0)
    profile: F64 = np.where(weight > 0.5, total / np.maximum(weight, 0.5), np.nan)
    return profile


# --- the fit -----------------------------------------------------------------------------------------


def fit_exposure(exposure: Mapping[int, Strips], width: int, light: Sequence[Mapping[int, F64]] = ()) -> Fit:
    """Offsets of all channels of an exposure.

    Fitted with one gradient over the whole field (an array by itself cannot tell a gradient from rising
    offsets) and a level for each array. ``light``, maps cell by cell, may each be in the exposure in any
    amount: what a change of transparency or an error of the pointing makes of the field. Offsets are
    expected to be of the size ``TYPICAL``; a channel with too few free pixels gets zero.
    """
    columns = [_planes(exposure)]
    for maps in light:
        shape = np.concatenate([maps[array].ravel() for array in exposure])
        columns.append(shape[:, None] / max(float(np.abs(shape).max()), 1.0))
    smooth = np.asfortranarray(np.hstack(columns))
    labels, places = _channels(exposure, width)
    values = np.concatenate([strips.values.ravel() for strips in exposure.values()])
    weights = np.concatenate([strips.weights.ravel() for strips in exposure.values()])
    solution = _clipped_fit(smooth, labels, values, weights)
    free = smooth @ solution[: smooth.shape[1]]
    offsets = solution[smooth.shape[1] :]
    pixels = np.bincount(labels, weights) * CELL_ROWS * CELL_COLUMNS * BLOCK**2
    residual = values - free - offsets[labels]
    offsets = np.where(pixels >= FEWEST, offsets, 0.0)
    return Fit(
        {array: over_columns(offsets, places[array], strips, width) for array, strips in exposure.items()},
        _by_array(free, exposure),
        _by_array(residual, exposure),
    )


def _by_array(cells: F64, exposure: Mapping[int, Strips]) -> dict[int, F64]:
    ends = np.cumsum([strips.values.size for strips in exposure.values()])[:-1]
    parts = np.split(cells, ends)
    return {
        array: part.reshape(exposure[array].values.shape) for array, part in zip(exposure, parts, strict=True)
    }


def _planes(exposure: Mapping[int, Strips]) -> F64:
    """Columns: x and y over the field, and a constant for each array; one row a cell."""
    rows = []
    for place, strips in enumerate(exposure.values()):
        height, width = strips.values.shape
        (right, upper), side = strips.array.corner, strips.array.shape[1]
        y, x = np.mgrid[0:height, 0:width]
        constant = np.zeros((strips.values.size, len(exposure)))
        constant[:, place] = 1.0
        across = right + (strips.where.x1 + (x.ravel() + 0.5) * STEP) / side
        up = upper + (y.ravel() + 0.5) / height
        rows.append(np.hstack([across[:, None], up[:, None], constant]))
    return np.concatenate(rows)


def _channels(exposure: Mapping[int, Strips], width: int) -> tuple[NDArray[Any], dict[int, int]]:
    """The channel of each cell, counted over all arrays, and each array's first channel."""
    numbers, places, total = [], {}, 0
    for array, strips in exposure.items():
        channel = channels_of(strips, width)
        numbers.append(np.tile(total + channel, strips.values.shape[0]))
        places[array] = total
        total += int(channel.max()) + 1
    return np.concatenate(numbers), places


def channels_of(strips: Strips, width: int) -> NDArray[Any]:
    """The channel of each column of cells, from 0."""
    return _channel_at(np.arange(strips.values.shape[1]) * STEP, strips, width)


def covered_channels(strips: Strips, width: int) -> int:
    """How many channels of an array have too few free pixels for their offset to be measured."""
    free = np.bincount(channels_of(strips, width), strips.weights.sum(axis=0))
    return int((free * CELL_ROWS * CELL_COLUMNS * BLOCK**2 < FEWEST).sum())


def _channel_at(column: NDArray[Any], strips: Strips, width: int) -> NDArray[Any]:
    return (column + strips.where.x1) // width - strips.where.x1 // width


def over_columns(found: F64, first: int, strips: Strips, width: int) -> F32:
    """The offset of each pixel column, with zero mean, from those of channels that begin at ``first``."""
    last_cell = strips.values.shape[1] * STEP - 1
    channel = _channel_at(np.minimum(np.arange(strips.where.shape[1]), last_cell), strips, width)
    offsets = found[first + channel]
    centred: F32 = (offsets - offsets.mean()).astype(np.float32)
    return centred


def in_cells(offsets: F32, strips: Strips) -> F64:
    """Offsets of pixel columns as those of columns of cells."""
    cells: F64 = offsets[: strips.values.shape[1] * STEP].reshape(-1, STEP).mean(axis=1, dtype=float)
    return cells


def _clipped_fit(smooth: F64, labels: NDArray[Any], values: F64, weights: F64) -> F64:
    """A weighted fit of smooth light and channels, repeated without the cells that deviate."""
    kept = weights > LEAST
    ridge = 1e-3
    solution: F64 = np.zeros(smooth.shape[1] + int(labels.max()) + 1)
    for _ in range(3):
        solution = _solve(smooth, labels, values, np.where(kept, weights, 0.0), ridge)
        model = smooth @ solution[: smooth.shape[1]] + solution[smooth.shape[1] :][labels]
        residual = (values - model) * np.sqrt(weights)
        noise = max(scatter(residual[kept]), 1e-6)
        kept = np.asarray((weights > LEAST) & (np.abs(residual) < CLIP * noise))
        ridge = (noise / TYPICAL) ** 2
    return solution


def _solve(smooth: F64, labels: NDArray[Any], values: F64, weights: F64, ridge: float) -> F64:
    """Least squares whose channels are drawn to zero; each cell lies in one channel, so sums suffice."""
    free, count = smooth.shape[1], int(labels.max()) + 1
    weighted = smooth.T * weights
    normal = 1e-9 * np.eye(free + count)
    normal[:free, :free] += weighted @ smooth
    for place in range(free):
        normal[place, free:] = normal[free:, place] = np.bincount(labels, weighted[place], count)
    channel = np.arange(free, free + count)
    normal[channel, channel] += np.bincount(labels, weights, count) + ridge
    right = np.concatenate([weighted @ values, np.bincount(labels, weights * values, count)])
    solution: F64 = np.asarray(np.linalg.solve(normal, right), float)
    return solution
