"""Offsets of the readout channels in exposures of the sky, told from gradients and extended light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reducer.frame import F32, F64
from reducer.sky.columns import WIDTHS, find_width
from reducer.sky.objects import BLOCK, scatter

Bool = NDArray[np.bool_]
Move = tuple[float, float]

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
#: Rounds in which offsets and the light of the field are told apart.
ROUNDS = 4
#: Cells on either side of a channel's edge in which its step is measured, and the degree of the light there.
NEAR = {64: (4, 2), 512: (12, 3)}
#: Where each array lies in the field, in units of its side.
CORNERS = {1: (0.0, -1.0), 2: (-1.0, -1.0), 3: (-1.0, 0.0), 4: (0.0, 0.0)}


@dataclass(frozen=True)
class Strips:
    """Free sky of one array in cells: mean electrons and the free fraction of each, (rows, columns).

    ``columns``: of pixels; ``first_column``: the place of the first on the full array.
    """

    values: F64
    weights: F64
    columns: int
    first_column: int


def without_level(strips: Strips, level: float) -> Strips:
    """The cells of an exposure from which a sky level is taken."""
    return replace(strips, values=strips.values - level)


def strips_of(means: F32, free: Bool, columns: int, first_column: int) -> Strips:
    """Cells from blocks of 4x4 pixels and which of them are free."""
    shape = (means.shape[0] // CELL_ROWS, CELL_ROWS, means.shape[1] // CELL_COLUMNS, CELL_COLUMNS)
    window = (slice(0, shape[0] * CELL_ROWS), slice(0, shape[2] * CELL_COLUMNS))
    count = free[window].reshape(shape).sum(axis=(1, 3), dtype=float)
    total = np.where(free, means, 0.0)[window].reshape(shape).sum(axis=(1, 3), dtype=float)
    return Strips(total / np.maximum(count, 1.0), count / (CELL_ROWS * CELL_COLUMNS), columns, first_column)


def channel_width(exposures: Sequence[Mapping[int, Strips]]) -> int:
    """Columns of a channel, 64 or 512: what most arrays of most exposures show."""
    votes = [
        find_width(_profile(strips), strips.first_column, STEP)
        for exposure in exposures
        for strips in exposure.values()
    ]
    return max(WIDTHS, key=votes.count)


def _profile(strips: Strips) -> F64:
    """Mean of each column of cells without the array's plane."""
    flat = _planes({1: strips})[:, :3]
    values, weights = strips.values.ravel(), strips.weights.ravel()
    residual = values - flat @ _solve(flat, values, weights, 0.0, 3)
    total = (residual * weights).reshape(strips.values.shape).sum(axis=0)
    weight = strips.weights.sum(axis=0)
    profile: F64 = np.where(weight > 0.5, total / np.maximum(weight, 0.5), np.nan)
    return profile


# --- one exposure ------------------------------------------------------------------------------------


def fit_exposure(
    exposure: Mapping[int, Strips], width: int, light: Mapping[int, F64] | None = None
) -> dict[int, F32]:
    """Offsets of all channels of an exposure, electrons for each column, with zero mean in each array.

    Fitted with one gradient over the whole field (an array by itself cannot tell a gradient from rising
    offsets) and a level for each array. ``light``, cell by cell, may be in the exposure in any amount: what
    a change of transparency makes of the field. Offsets are expected to be of the size ``TYPICAL``; a
    channel with too few free pixels gets zero.
    """
    smooth = _planes(exposure)
    if light is not None:
        shape = np.concatenate([light[array].ravel() for array in exposure])
        smooth = np.hstack([smooth, shape[:, None] / max(float(np.abs(shape).max()), 1.0)])
    channels, places = _channels(exposure, width)
    values = np.concatenate([strips.values.ravel() for strips in exposure.values()])
    weights = np.concatenate([strips.weights.ravel() for strips in exposure.values()])
    pixels = channels.T @ weights * CELL_ROWS * CELL_COLUMNS * BLOCK**2
    solution = _clipped_fit(np.hstack([smooth, channels]), values, weights, smooth.shape[1])
    found = np.where(pixels >= FEWEST, solution[smooth.shape[1] :], 0.0)
    return {array: _over_columns(found, places[array], strips, width) for array, strips in exposure.items()}


def _planes(exposure: Mapping[int, Strips]) -> F64:
    """Columns: x and y over the field, and a constant for each array; one row a cell."""
    rows = []
    for place, (array, strips) in enumerate(exposure.items()):
        height, width = strips.values.shape
        corner = CORNERS[array]
        y, x = np.mgrid[0:height, 0:width]
        constant = np.zeros((strips.values.size, len(exposure)))
        constant[:, place] = 1.0
        across = corner[0] + (strips.first_column + (x.ravel() + 0.5) * STEP) / 2048.0
        up = corner[1] + (y.ravel() + 0.5) / height
        rows.append(np.hstack([across[:, None], up[:, None], constant]))
    return np.concatenate(rows)


def _channels(exposure: Mapping[int, Strips], width: int) -> tuple[F64, dict[int, int]]:
    """Which cell lies in which channel, (cells, channels of all arrays), and each array's first channel."""
    numbers, places, total = [], {}, 0
    for array, strips in exposure.items():
        height, cells = strips.values.shape
        channel = _channel_of(np.arange(cells) * STEP, strips, width)
        numbers.append(np.tile(total + channel, height))
        places[array] = total
        total += int(channel.max()) + 1
    return (np.concatenate(numbers)[:, None] == np.arange(total)).astype(float), places


def _channel_of(column: NDArray[Any], strips: Strips, width: int) -> NDArray[Any]:
    return (column + strips.first_column) // width - strips.first_column // width


def _over_columns(found: F64, first: int, strips: Strips, width: int) -> F32:
    last_cell = strips.values.shape[1] * STEP - 1
    channel = _channel_of(np.minimum(np.arange(strips.columns), last_cell), strips, width)
    offsets = found[first + channel]
    centred: F32 = (offsets - offsets.mean()).astype(np.float32)
    return centred


def _clipped_fit(design: F64, values: F64, weights: F64, free: int) -> F64:
    """A weighted fit repeated without the cells that deviate; what follows ``free`` is drawn to zero."""
    kept = weights > 0.05
    ridge = 1e-3
    solution: F64 = np.zeros(design.shape[1])
    for _ in range(4):
        solution = _solve(design[kept], values[kept], weights[kept], ridge, free)
        residual = (values - design @ solution) * np.sqrt(weights)
        noise = max(scatter(residual[kept]), 1e-6)
        kept = np.asarray((weights > 0.05) & (np.abs(residual) < CLIP * noise))
        ridge = (noise / TYPICAL) ** 2
    return solution


def _solve(design: F64, values: F64, weights: F64, ridge: float, free: int) -> F64:
    normal = design.T @ (design * weights[:, None])
    normal[range(free, design.shape[1]), range(free, design.shape[1])] += ridge
    normal[range(design.shape[1]), range(design.shape[1])] += 1e-9
    solution: F64 = np.asarray(np.linalg.solve(normal, design.T @ (values * weights)), float)
    return solution


# --- several exposures of one field ------------------------------------------------------------------


def fit_field(
    exposures: Sequence[Mapping[int, Strips]], moves: Sequence[Mapping[int, Move]], width: int
) -> list[dict[int, F32]]:
    """Offsets in exposures of one field, whose extended light is in all of them.

    ``exposures``: without their sky levels. ``moves``: for each exposure and array the shift (x, y), in
    cells, from the first exposure's sky to its own. The light is the mean of the exposures, each without its
    own offsets; the mean of these, which stays in it, shows in steps at the edges of the channels when no
    exposure is shifted.
    """
    found = [
        {array: np.zeros(strips.columns, np.float32) for array, strips in exposure.items()}
        for exposure in exposures
    ]
    light: Mapping[int, Strips] = {}
    for _ in range(ROUNDS):
        light = _mean_light(exposures, found, moves)
        left = [_without(exposure, light, move) for exposure, move in zip(exposures, moves, strict=True)]
        found = [
            fit_exposure(part, width, {array: whole[array].values - part[array].values for array in part})
            for whole, part in zip(exposures, left, strict=True)
        ]
    still = [{array: (0.0, 0.0) for array in exposure} for exposure in exposures]
    common = common_offsets(_mean_light(exposures, found, still), width, len(exposures))
    return [{array: offsets + common[array] for array, offsets in each.items()} for each in found]


def common_offsets(light: Mapping[int, Strips], width: int, exposures: int) -> dict[int, F32]:
    """Offsets that stayed in the mean of several exposures, from its steps at the edges of the channels."""
    expected = TYPICAL / np.sqrt(exposures)
    return {array: _from_steps(strips, width, expected) for array, strips in light.items()}


def _from_steps(strips: Strips, width: int, expected: float) -> F32:
    """The most likely offsets of an array's channels, each expected to be of a size, given the steps."""
    channel = _channel_of(np.arange(strips.values.shape[1]) * STEP, strips, width)
    edges = np.flatnonzero(np.diff(channel)) + 1
    normal, right = np.eye(edges.size + 1) / expected**2, np.zeros(edges.size + 1)
    for place, edge in enumerate(edges):
        step, sigma = _step(strips, int(edge), *NEAR[width])
        if np.isfinite(step):
            difference = np.zeros(edges.size + 1)
            difference[place], difference[place + 1] = -1.0, 1.0
            normal += np.outer(difference, difference) / sigma**2
            right += difference * step / sigma**2
    solution: F64 = np.asarray(np.linalg.solve(normal, right), float)
    return _over_columns(solution, 0, strips, width)


def _step(strips: Strips, edge: int, reach: int, degree: int) -> tuple[float, float]:
    """The step at an edge between cells, and its sigma: the median over the rows.

    (nan, inf) where too few rows are free on both sides.
    """
    first, last = max(edge - reach, 0), min(edge + reach, strips.values.shape[1])
    place = (np.arange(first, last) - edge + 0.5) / reach
    design = np.column_stack([np.polynomial.legendre.legvander(place, degree), place > 0])
    values, weights = strips.values[:, first:last], strips.weights[:, first:last]
    steps = []
    for row in np.flatnonzero((weights > 0.3).sum(axis=1) > 0.8 * place.size):
        root = np.sqrt(weights[row])
        steps.append(np.linalg.lstsq(design * root[:, None], values[row] * root, rcond=None)[0][-1])
    if len(steps) < 4:
        return float("nan"), float("inf")
    return float(np.median(steps)), max(1.25 * scatter(np.array(steps)) / np.sqrt(len(steps)), 0.05)


def _mean_light(
    exposures: Sequence[Mapping[int, Strips]],
    found: Sequence[Mapping[int, F32]],
    moves: Sequence[Mapping[int, Move]],
) -> dict[int, Strips]:
    """The light on the first exposure's cells: the mean of all, without their offsets."""
    light = {}
    every = {array: strips for exposure in reversed(exposures) for array, strips in exposure.items()}
    for array, first in every.items():
        total, weight = np.zeros(first.values.shape), np.zeros(first.values.shape)
        for exposure, offsets, move in zip(exposures, found, moves, strict=True):
            if array in exposure:
                strips = _without_offsets(exposure[array], offsets[array])
                values, weights = _moved(strips, move[array], 1.0)
                total += values * weights
                weight += weights
        light[array] = replace(
            first, values=total / np.maximum(weight, 1e-9), weights=weight / len(exposures)
        )
    return light


def _without_offsets(strips: Strips, offsets: F32) -> Strips:
    cells = offsets[: strips.values.shape[1] * STEP].reshape(-1, STEP).mean(axis=1)
    return replace(strips, values=strips.values - cells)


def _without(
    exposure: Mapping[int, Strips], light: Mapping[int, Strips], move: Mapping[int, Move]
) -> dict[int, Strips]:
    left = {}
    for array, strips in exposure.items():
        values, weights = _moved(light[array], move[array], -1.0)
        left[array] = replace(strips, values=strips.values - values, weights=strips.weights * (weights > 0.1))
    return left


def _moved(strips: Strips, move: Move, sign: float) -> tuple[F64, F64]:
    """Values and weights as seen after a shift; cells from beyond the edge have no weight."""
    y, x = np.mgrid[0 : strips.values.shape[0], 0 : strips.values.shape[1]].astype(float)
    places = [y + sign * move[1], x + sign * move[0]]
    weights = ndimage.map_coordinates(strips.weights, places, order=1, mode="constant", cval=0.0)
    total = ndimage.map_coordinates(
        strips.values * strips.weights, places, order=1, mode="constant", cval=0.0
    )
    return total / np.maximum(weights, 1e-9), weights
