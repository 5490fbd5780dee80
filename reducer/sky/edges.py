"""Offsets that exposures have in common, from the steps they leave in smooth light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded

from reducer.frame import F32, F64
from reducer.sky.channels import TYPICAL, Strips, channels_of, over_columns
from reducer.sky.objects import scatter

#: Rows of cells that make a band, along which the light is followed.
BAND = 2
#: Stiffnesses of the light along a band, tried in turn: the inverse square, in electrons, of how much its
#: slope changes from cell to cell, relative to the noise of a cell.
STIFFNESSES = 10.0 ** np.arange(-1, 7)
#: Free cells that a band needs, and their least free fraction.
FEWEST, FREE = 20, 0.1
#: Rounds of the fit, and standard deviations beyond which a cell does not count.
ROUNDS, CLIP = 4, 2.5
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
    for number in range(ROUNDS):
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
        root = _root(replace(band, stiffness=float(stiffness)))
        light = cho_solve_banded((root, False), band.kept * left)
        fit = float((band.kept * left) @ (left - light))
        volume = 2 * float(np.log(root[2]).sum()) - (left.size - 2) * float(np.log(stiffness))
        unlikely.append(fit + volume)
    return float(STIFFNESSES[int(np.argmin(unlikely))])


def _root(band: Band) -> F64:
    """The banded Cholesky factor of the weights in use plus the penalty on second differences."""
    matrix = np.zeros((3, band.values.size))
    matrix[0, 2:], matrix[1, 1:], matrix[2] = 1.0, -4.0, 6.0
    matrix[1, [1, -1]], matrix[2, [0, -1]], matrix[2, [1, -2]] = -2.0, 1.0, 5.0
    matrix *= band.stiffness / band.noise**2
    matrix[2] += band.kept
    root: F64 = cholesky_banded(matrix)
    return root


def _agreeing(band: Band, common: F64) -> F64:
    """The weights of the cells that do not deviate from the smooth light of those in use."""
    left = band.values - common
    residual = (left - cho_solve_banded((_root(band), False), band.kept * left)) * np.sqrt(band.weights)
    limit = CLIP * max(scatter(residual[band.kept > 0]), 1e-9)
    return np.where(np.abs(residual) > limit, 0.0, band.weights)


def _roughness(columns: F64, band: Band) -> F64:
    """What a smooth light cannot follow in each column, times its weight."""
    weighted = band.kept[:, None] * columns
    rough: F64 = weighted - band.kept[:, None] * cho_solve_banded((_root(band), False), weighted)
    return rough
