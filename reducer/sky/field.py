"""Channel offsets in exposures of one field, whose extended light is in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from scipy import ndimage

from reducer.sky.objects import scatter
from reducer.sky.readout_offsets import (
    LEAST,
    TYPICAL,
    Fit,
    Strips,
    channels_of,
    fit_exposure,
    in_cells,
    over_columns,
)
from reducer.types import F32, F64

# --- offsets that all have in common, from the steps they leave in smooth light --------------------

#: Rows of cells that make a band, along which the light is followed.
BAND = 2
#: Stiffnesses of the light along a band, tried in turn: the inverse square, in electrons, of how much its
#: slope changes from cell to cell, relative to the noise of a cell.
STIFFNESSES = 10.0 ** np.arange(-1, 7)
#: Free cells that a band needs, and their least free fraction.
FEWEST, FREE = 20, 0.1
#: Rounds of the fit, and standard deviations beyond which a cell does not count.
STEP_ROUNDS, CLIP = 4, 2.5
#: The stiffness of the first round: what stands out from so smooth a light does not count in the second.
FIRST = 1e4


@dataclass(frozen=True)
class Band:
    """One band of an array: means and weights (one over the variance) of its cells, and the cells in use.

    ``noise``: standard deviation of a cell of weight one, electrons. ``stiffness``: of its light.
    """

    values: F64
    weights: F64
    kept: F64
    noise: float
    stiffness: float = FIRST


def common_offsets(light: Mapping[int, Strips], width: int, exposures: int) -> dict[int, F32]:
    """Offsets that stayed in the mean of several exposures, electrons for each column, by array."""
    expected = TYPICAL / np.sqrt(exposures)
    return {array: _from_steps(strips, width, expected) for array, strips in light.items()}


def _from_steps(strips: Strips, width: int, expected: float) -> F32:
    """The most likely offsets of an array's channels, each expected to be of a size.

    Along every band the light is smooth: its second differences are random, of the size that makes the
    band's values most likely; the channels' offsets are the same in all bands.
    """
    channel = channels_of(strips, width)
    design = (channel[:, None] == np.arange(channel.max() + 1)).astype(float)
    bands = _bands(strips)
    offsets: F64 = np.zeros(design.shape[1])
    for number in range(STEP_ROUNDS):
        common = design @ offsets
        if number:
            bands = [replace(band, stiffness=_likely_stiffness(band, common)) for band in bands]
        bands = [replace(band, kept=_agreeing(band, common)) for band in bands]
        normal, right = np.eye(offsets.size) / expected**2, np.zeros(offsets.size)
        for band in bands:
            rough = _roughness(np.column_stack([band.values, design]), band)
            normal += design.T @ rough[:, 1:]
            right += design.T @ rough[:, 0]
        offsets = np.asarray(np.linalg.solve(normal, right), float)
    return over_columns(offsets, 0, strips, width)


def _bands(strips: Strips) -> list[Band]:
    """The bands that can be used, each with the noise of its cells from their third differences."""
    count = strips.values.shape[0] // BAND
    shape = (count, BAND, strips.values.shape[1])
    parts = strips.weights[: count * BAND].reshape(shape)
    free = parts.sum(axis=1)
    light = strips.values[: count * BAND].reshape(shape) * parts
    values = light.sum(axis=1) / np.maximum(free, 1e-9)
    found = []
    for row, part in zip(values, free, strict=True):
        noise = _noise(row, part)
        if noise > 0 and (part > FREE * BAND).sum() >= FEWEST:
            weights = np.where(part > FREE * BAND, part, 0.0) / noise**2
            found.append(Band(row, weights, weights, noise))
    return found


def _noise(values: F64, weights: F64) -> float:
    """Standard deviation of a cell of weight one; 0 where too few neighbours are free."""
    each = 1.0 / np.maximum(weights, 1e-9)
    sums = each[:-3] + 9 * each[1:-2] + 9 * each[2:-1] + each[3:]
    known = np.lib.stride_tricks.sliding_window_view(weights, 4).min(axis=1) > 0.3 * BAND
    return scatter((np.diff(values, 3) / np.sqrt(sums))[known]) if known.sum() >= FEWEST else 0.0


def _likely_stiffness(band: Band, common: F64) -> float:
    """The stiffness under which a band's values without the common offsets are most likely."""
    unlikely, left = [], band.values - common
    for stiffness in STIFFNESSES:
        light, size = smooth_light(replace(band, stiffness=float(stiffness)), left[:, None])
        fit = float((band.kept * left) @ (left - light[:, 0]))
        unlikely.append(fit + size - (left.size - 2) * float(np.log(stiffness)))
    return float(STIFFNESSES[int(np.argmin(unlikely))])


def _agreeing(band: Band, common: F64) -> F64:
    """The weights of the cells that do not deviate from the smooth light of those in use."""
    left = band.values - common
    residual = (left - smooth_light(band, left[:, None])[0][:, 0]) * np.sqrt(band.weights)
    limit = CLIP * max(scatter(residual[band.kept > 0]), 1e-9)
    return np.where(np.abs(residual) > limit, 0.0, band.weights)


def _roughness(columns: F64, band: Band) -> F64:
    """What a smooth light cannot follow in each column, times its weight."""
    rough: F64 = band.kept[:, None] * (columns - smooth_light(band, columns)[0])
    return rough


def smooth_light(band: Band, columns: F64) -> tuple[F64, float]:
    """The smooth light nearest to each column, (cells, columns), given the band's cells in use.

    The logarithm of the determinant of what is solved for it comes with it.
    """
    light = band.kept[:, None] * columns
    return light, _solve(band.kept, band.stiffness / band.noise**2, light)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _solve(weights: F64, penalty: float, columns: F64) -> float:
    """Solve (diagonal weights + penalty on second differences) x = column in place; the log determinant.

    The matrix has five diagonals: L D L' with two below the main one (Golub and Van Loan, 4.3).
    """
    count = weights.size
    pivots, near, far = np.empty(count), np.zeros(count), np.zeros(count)
    size = 0.0
    for row in range(count):
        edge = min(row, count - 1 - row)
        pivots[row] = weights[row] + penalty * (1.0 if edge == 0 else 5.0 if edge == 1 else 6.0)
        if row > 1:
            far[row] = penalty / pivots[row - 2]
            pivots[row] -= far[row] ** 2 * pivots[row - 2]
        if row > 0:
            beside = -2.0 if row == 1 or row == count - 1 else -4.0
            near[row] = penalty * beside / pivots[row - 1]
            if row > 1:
                near[row] -= far[row] * pivots[row - 2] * near[row - 1] / pivots[row - 1]
            pivots[row] -= near[row] ** 2 * pivots[row - 1]
        size += np.log(pivots[row])
    for column in range(columns.shape[1]):
        for row in range(1, count):
            columns[row, column] -= near[row] * columns[row - 1, column]
            if row > 1:
                columns[row, column] -= far[row] * columns[row - 2, column]
        for row in range(count):
            columns[row, column] /= pivots[row]
        for row in range(count - 2, -1, -1):
            columns[row, column] -= near[row + 1] * columns[row + 1, column]
            if row < count - 2:
                columns[row, column] -= far[row + 2] * columns[row + 2, column]
    return size


# --- each exposure's own ---------------------------------------------------------------------------

Move = tuple[float, float]

#: Rounds in which offsets and the light of the field are told apart.
ROUNDS = 3
#: Cells over which the light is smoothed before its slope is taken, and the scatter of the exposures.
SMOOTHING, NEIGHBOURS = 2.0, 5
#: What the weight of a quiet cell may be, relative to that of a usual one.
MOST = 2.0


def fit_field(
    exposures: Sequence[Mapping[int, Strips]], moves: Sequence[Mapping[int, Move]], width: int
) -> list[dict[int, F32]]:
    """Offsets of the channels in exposures of one field, electrons for each column.

    ``exposures``: without their sky levels. ``moves``: for each exposure and array the shift (x, y), in
    cells, from the first exposure's sky to its own. The light is the mean of the exposures, each without its
    own gradient and offsets; it may be in each of them in its own amount and a little displaced. The mean of
    the offsets, which stays in the light, shows in its steps at the edges of the channels.
    """
    fits: list[Fit] = []
    trust = {array: 1.0 for exposure in exposures for array in exposure}  # type: dict[int, F64 | float]
    for _ in range(ROUNDS):
        light = _mean_light(_cleared(exposures, fits), moves)
        fits = [
            _fit_one(exposure, light, move, trust, width)
            for exposure, move in zip(exposures, moves, strict=True)
        ]
        trust = _trust(exposures, fits)
    still = [{array: (0.0, 0.0) for array in exposure} for exposure in exposures]
    common = common_offsets(_mean_light(_cleared(exposures, fits), still), width, len(exposures))
    return [{array: own + common[array] for array, own in fit.offsets.items()} for fit in fits]


def _cleared(exposures: Sequence[Mapping[int, Strips]], fits: Sequence[Fit]) -> list[Mapping[int, Strips]]:
    """The exposures without what was found to be their own: gradient, level and offsets."""
    if not fits:
        return list(exposures)
    return [
        {
            array: strips.less(fit.smooth[array] + in_cells(fit.offsets[array], strips))
            for array, strips in exposure.items()
        }
        for exposure, fit in zip(exposures, fits, strict=True)
    ]


def _fit_one(
    exposure: Mapping[int, Strips],
    light: Mapping[int, Strips],
    move: Mapping[int, Move],
    trust: Mapping[int, F64 | float],
    width: int,
) -> Fit:
    """Fit an exposure without the light of the field, of which some more or less may be in it, displaced."""
    left, seen, across, up = {}, {}, {}, {}
    for array, strips in exposure.items():
        values, weights = _moved(light[array], move[array], -1.0)
        seen[array] = values
        up[array], across[array] = np.gradient(ndimage.gaussian_filter(values, SMOOTHING))
        known = strips.weights * (weights > 2 * LEAST) * trust[array]
        left[array] = replace(strips.less(values), weights=known)
    return fit_exposure(left, width, (seen, across, up))


def _trust(exposures: Sequence[Mapping[int, Strips]], fits: Sequence[Fit]) -> dict[int, F64 | float]:
    """Factors of the weights of each array's cells: less where the exposures differ by more than usual.

    In crowded places the images of stars change from exposure to exposure.
    """
    variances = {}
    for array in {array for exposure in exposures for array in exposure}:
        sizes = [
            np.where(exposure[array].weights > LEAST, np.abs(fit.residual[array]), np.nan)
            * np.sqrt(exposure[array].weights)
            for exposure, fit in zip(exposures, fits, strict=True)
            if array in exposure
        ]
        known = np.isfinite(sizes).any(axis=0)
        middle = np.full(known.shape, np.nan)
        middle[known] = np.nanmedian(np.array(sizes)[:, known], axis=0)
        usual = np.median(middle[known]) if known.any() else 1.0
        spread = np.where(known, middle, usual) ** 2
        variances[array] = np.maximum(ndimage.uniform_filter(spread, NEIGHBOURS), 1e-6)
    usual = float(np.median(np.concatenate([each.ravel() for each in variances.values()])))
    return {array: np.minimum(usual / each, MOST) for array, each in variances.items()}


def _mean_light(
    exposures: Sequence[Mapping[int, Strips]], moves: Sequence[Mapping[int, Move]]
) -> dict[int, Strips]:
    """The mean of the exposures on the cells of the first one that has the array."""
    light = {}
    every = {array: strips for exposure in reversed(exposures) for array, strips in exposure.items()}
    for array, first in every.items():
        total, weight = np.zeros(first.values.shape), np.zeros(first.values.shape)
        for exposure, move in zip(exposures, moves, strict=True):
            if array in exposure:
                values, weights = _moved(exposure[array], move[array], 1.0)
                total += values * weights
                weight += weights
        light[array] = replace(
            first, values=total / np.maximum(weight, 1e-9), weights=weight / len(exposures)
        )
    return light


def _moved(strips: Strips, move: Move, sign: float) -> tuple[F64, F64]:
    """Values and weights as seen after a shift; cells from beyond the edge have no weight."""
    if move == (0.0, 0.0):
        return strips.values, strips.weights
    shift = (-sign * move[1], -sign * move[0])
    weights = ndimage.shift(strips.weights, shift, order=1, mode="constant", cval=0.0)
    total = ndimage.shift(strips.values * strips.weights, shift, order=1, mode="constant", cval=0.0)
    return total / np.maximum(weights, 1e-9), weights
