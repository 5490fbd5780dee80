"""Residual levels and planes of the sky between overlapping exposures, from a coarse lattice of the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer.align.resample import USELESS
from reducer.astrometry import Geometry, Grid
from reducer.frame import Files, FrameRef
from reducer.types import F32, F64

#: Arcsec between the points of the lattice, and pixels along the side of the square averaged at each.
SPACING, SIDE = 0.16, 4
#: Exposures beyond which the lattice gets coarser, and values that are solved for at most.
MANY, MOST_VALUES = 16, 1_000_000
#: Points of the lattice whose equations are added together.
CHUNK = 16_384
#: Electrons within which levels and slopes over half the field are held where no overlap determines them.
PRIOR = 300.0


@dataclass(frozen=True)
class Survey:
    """One exposure on the lattice: mean electrons at each point (NaN: none) and number of the array, both
    (ny, nx), and the median variance of a pixel of each array, by its number from 0 (NaN: none)."""

    values: F32
    array: NDArray[np.uint8]
    variance: F64


@dataclass(frozen=True)
class Level:
    """What to take off a chip: electrons = constant + along_x * column + along_y * row (0-based pixels)."""

    constant: float
    along_x: float
    along_y: float

    def at(self, column: float, row: float) -> float:
        """The level in electrons at a pixel."""
        return self.constant + self.along_x * column + self.along_y * row

    @property
    def plane(self) -> tuple[float, float, float]:
        """Constant and slopes."""
        return self.constant, self.along_x, self.along_y


def lattice(grid: Grid, count: int) -> Grid:
    """The coarse lattice over a stack's field; coarser for many exposures, which need no more memory then."""
    spacing = SPACING * max(float(np.sqrt(count / MANY)), 1.0)
    factor = spacing / grid.scale
    size = int(np.ceil(grid.width / factor)), int(np.ceil(grid.height / factor))
    return Grid(
        grid.tangent, spacing, grid.angle, *size, (grid.reference[0] / factor, grid.reference[1] / factor)
    )


def survey_exposure(task: tuple[Files, FrameRef, Grid]) -> Survey:
    """Average small squares of an aligned exposure at the points of a lattice."""
    files, frame, points = task
    geometry = frame.placed
    every = np.arange(points.width, dtype=float), np.arange(points.height, dtype=float)
    values = np.full((points.height, points.width), np.nan, np.float32)
    array = np.zeros(values.shape, np.uint8)
    variance = np.full(geometry.field.arrays + 1, np.nan)
    for index, region in enumerate(geometry.regions):
        chip = files.read_chip(frame, index)
        inverse = geometry.inverse(index, points.to_pixel)
        window = inverse.window(points.width, points.height)
        columns, rows = np.meshgrid(every[0][window[1]], every[1][window[0]])
        x, y = inverse.evaluate(columns, rows)
        on = (x > 0) & (y > 0) & (x < region.width - 1) & (y < region.height - 1)
        values[window][on] = mean_squares(chip.data, chip.mask, x[on], y[on])
        array[window][on] = region.array
        sample = chip.variance[8:-8:13, 8:-8:11][chip.mask[8:-8:13, 8:-8:11] == 0]
        variance[region.array] = np.median(sample) if len(sample) else np.nan
    return Survey(values, np.where(np.isfinite(values), array, 0).astype(np.uint8), variance)


@njit(cache=True, nogil=True)
def mean_squares(data, mask, x, y):  # type: ignore[no-untyped-def]
    """Means of SIDE x SIDE pixels around points, NaN where more than a quarter of them is masked.

    ``data``, ``mask``: (ny, nx), electrons; ``x``, ``y``: (n,) pixels; returns (n,).
    """
    out = np.full(len(x), np.nan, np.float32)
    height, width = data.shape
    for n in range(len(x)):
        x0, y0 = int(x[n]) - SIDE // 2 + 1, int(y[n]) - SIDE // 2 + 1
        total, count = 0.0, 0
        for j in range(max(y0, 0), min(y0 + SIDE, height)):
            for i in range(max(x0, 0), min(x0 + SIDE, width)):
                if not mask[j, i] & USELESS:
                    total += data[j, i]
                    count += 1
        if 4 * count >= 3 * SIDE * SIDE:
            out[n] = total / count
    return out


def solve_levels(
    surveys: Sequence[Survey], factors: Sequence[float], geometries: Sequence[Geometry], points: Grid
) -> list[tuple[Level, ...]]:
    """What to take off each chip of each exposure so that overlapping exposures agree, before scaling.

    Terms of an exposure are a level for each array, a slope along x and one along y of the static plane.
    ``factors`` scale each exposure to the reference. The weighted mean of all levels and slopes stays as it
    is: only differences are solved for. Robust: stars, whose images change, lose their weight.
    """
    count = len(surveys)
    if count < 2:
        return [tuple(Level(0.0, 0.0, 0.0) for _ in g.regions) for g in geometries]
    values, terms = _table(surveys, factors, geometries, points)
    solution = np.zeros((count, terms.shape[2]))
    for step in range(5):
        residual = values - np.einsum("npt,nt->np", terms, solution)
        weights = _weights(residual, first=step == 0)
        solution = _solve(values, terms, weights).reshape(count, -1)
    found = solution / np.asarray(factors)[:, None]
    return [_levels(geometry, row) for geometry, row in zip(geometries, found, strict=True)]


def _table(
    surveys: Sequence[Survey], factors: Sequence[float], geometries: Sequence[Geometry], points: Grid
) -> tuple[F64, F64]:
    """Scaled values (n, points) where at least two exposures are, and their terms (n, points, terms)."""
    values = np.stack([s.values.ravel() * f for s, f in zip(surveys, factors, strict=True)]).astype(float)
    several = np.isfinite(values).sum(axis=0) >= 2
    index = np.flatnonzero(several)
    index = index[:: max(len(index) * len(surveys) // MOST_VALUES, 1)]
    columns, rows = np.asarray(index % points.width, float), np.asarray(index // points.width, float)
    u, v = points.to_plane(columns, rows)
    arrays = geometries[0].field.arrays
    terms = np.zeros((len(surveys), len(index), arrays + 2))
    for number, (survey, geometry) in enumerate(zip(surveys, geometries, strict=True)):
        array = survey.array.ravel()[index].astype(int)
        terms[number, :, :arrays] = np.eye(arrays + 1)[array][:, 1:]
        # An exposure's plane is about its own middle, wherever the dither has put that.
        u0, v0 = geometry.middle
        away = np.linalg.inv(geometry.linear) @ np.stack([u - u0, v - v0])
        terms[number, :, arrays:] = away.T / geometry.field.half_width
    return values[:, index], terms


def _weights(residual: F64, first: bool) -> F64:
    """Weights (n, points): Cauchy about the median of the exposures; 0 where there is no value."""
    away = residual - np.nanmedian(residual, axis=0)
    scale = 1.4826 * np.nanmedian(np.abs(away)) + 1e-6
    if first:
        # The levels are not known yet: what is far from an exposure's own median is a star's change.
        away = away - np.nanmedian(away, axis=1, keepdims=True)
    weights = 1.0 / (1.0 + (away / (2.0 * scale)) ** 2)
    weights = np.where(np.isfinite(residual), weights, 0.0)
    # One bad sample spoils the point's mean: the point counts as its worst sample does.
    return np.asarray(weights * np.min(np.where(weights > 0, weights, 1.0), axis=0), float)


def _solve(values: F64, terms: F64, weights: F64) -> F64:
    """Least squares of levels and slopes with the point's mean eliminated and a weak prior."""
    count, points, width = terms.shape
    total = np.maximum(weights.sum(axis=0), 1e-12)
    filled = np.where(weights > 0, values, 0.0)
    mean = (weights * filled).sum(axis=0) / total
    normal, right = np.zeros((count * width, count * width)), np.zeros(count * width)
    for first in range(0, points, CHUNK):
        part = slice(first, first + CHUNK)
        weighted = terms[:, part] * weights[:, part, None]
        for n in range(count):
            block = slice(n * width, (n + 1) * width)
            normal[block, block] += weighted[n].T @ terms[n, part]
            right[block] += weighted[n].T @ (filled[n, part] - mean[part])
        weighted /= np.sqrt(total[part])[:, None]
        together = weighted.transpose(1, 0, 2).reshape(-1, count * width)
        normal -= together.T @ together
    spread = np.median(np.abs(filled - mean)[weights > 0]) * 1.5 + 1.0
    normal[np.diag_indices_from(normal)] += (spread / PRIOR) ** 2
    return np.asarray(np.linalg.solve(normal, right), float)


def _levels(geometry: Geometry, row: F64) -> tuple[Level, ...]:
    """The terms of one exposure as a constant and two slopes in each chip's own pixels."""
    found, field = [], geometry.field
    for index, region in enumerate(geometry.regions):
        middle = np.array([(region.width - 1) / 2, (region.height - 1) / 2])
        columns, rows = middle[0] + np.array([0.0, 1.0, 0.0]), middle[1] + np.array([0.0, 0.0, 1.0])
        at = np.stack(geometry.static(columns, rows, index))
        slope = row[-2:] @ (at[:, 1:] - at[:, :1]) / field.half_width
        here = (at[:, 0] - field.centre) / field.half_width
        constant = row[region.array - 1] + row[-2:] @ here - slope @ middle
        found.append(Level(float(constant), float(slope[0]), float(slope[1])))
    return tuple(found)
