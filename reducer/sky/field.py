"""Channel offsets in exposures of one field, whose extended light is in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from reducer.sky.channels import LEAST, Fit, Strips, fit_exposure, in_cells
from reducer.sky.edges import common_offsets
from reducer.types import F32, F64

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
