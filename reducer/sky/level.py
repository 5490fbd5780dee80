"""The sky's level in each exposure: skies absolutely, objects by their field, joined in time and weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from reducer.combine import median_of_seen
from reducer.sky.objects import scatter
from reducer.types import F64

#: Seconds over which the sky's course forgets itself, tried in turn.
MEMORIES = (600.0, 1800.0, 5400.0)
#: Size of the course's departure from a line, relative to the level, tried in turn.
SWINGS = (0.003, 0.01, 0.03)
#: Jitter from exposure to exposure, relative to the level, tried in turn.
JITTERS = (0.0005, 0.002, 0.005)
#: Half-range of light in the field (electrons) below which its transparency cannot be told.
CONTRAST = 50.0
#: The part of the field's light that an exposure lacks, or has too much, if it shows another or a cloud.
UNLIKE = 0.3
#: What is expected of an exposure's slopes over half the field, electrons, and of its transparency's change,
#: and of the noise of a cell, electrons: they tell these apart where an exposure shows little of the field.
SLOPE, CHANGE, NOISE = 10.0, 0.03, 3.0
#: Of a background cell of 64 pixels: channel offsets and read noise (variance), electrons.
OFFSETS, READ_NOISE2, CELL_SIDE = 2.0, 800.0, 64.0
#: How much an own median scatters, relative to its level: it is that of many cells.
MEDIAN = 0.0004
#: Slope over half the field, relative to the level, that the sky itself may have; electrons of light between
#: the objects where these cover none of the field, and all of it.
STEEP, FAINTEST, CROWDED = 0.006, 0.5, 30.0
#: Light relative to the level below which a field is blank.
BLANK = 0.002
#: Fewest cells that tell how even a background is.
FEWEST = 12
#: Degrees of freedom of the distribution of the skies' answer, whose standard deviation is the stated one.
TAIL = 4.0
#: Change of a sky's level in a second, relative to it, that is the most; departure from a line that is odd.
FASTEST, ODD, ODD_ELECTRONS = 0.15 / 1800.0, 0.1, 60.0
#: The same for what exposures of one field show, which is sure to some electrons: one of another field, or
#: with a cloud, does not tell how the field's light adds to the sky.
STRAY, STRAY_ELECTRONS = 0.03, 12.0


@dataclass(frozen=True)
class LevelCurve:
    """Levels of the object exposures, electrons, and how sure their common zero is (one sigma)."""

    levels: F64
    sigma: float


def follow(
    sky_times: F64,
    sky_levels: F64,
    object_times: F64,
    differences: F64,
    fits: NDArray[np.bool_] | None = None,
) -> LevelCurve:
    """Levels of object exposures whose differences are known, from skies taken at other times.

    All levels follow one course in time: a line, a slow random departure from it, and jitter from exposure
    to exposure; over how slow, how far and how much the mean is taken by likelihood. ``differences`` are
    levels of the objects but for a common constant, which the course joins to the skies; those out of line
    with the others, by a cloud or another field, do not tell it, nor those that do not show it (``fits``).
    Times in seconds, levels in electrons. Of skies (n,), of objects (m,).
    """
    size = float(np.median(sky_levels))
    scale = max(abs(size), 1.0)
    like = ~_off_line(object_times, differences, scale, max(STRAY * scale, STRAY_ELECTRONS))
    like &= True if fits is None else fits
    like |= 2 * like.sum() <= like.size
    times = np.concatenate([sky_times, object_times[like]])
    values = np.concatenate([sky_levels - size, differences[like]])
    design = _design(times, sky_times.size)
    found = np.array(
        [
            _solve(times, values, design, scale, memory, swing, jitter)
            for memory in MEMORIES
            for swing in SWINGS
            for jitter in JITTERS
        ]
    )
    likelihood, constants, sigmas = found.T
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    constant = float(weights @ constants)
    sigma = float(np.sqrt(weights @ (sigmas**2 + (constants - constant) ** 2)))
    return LevelCurve(differences + size - constant, sigma)


@dataclass(frozen=True)
class Own:
    """What exposures of a field show of their sky themselves: the median of each between its objects,
    electrons; the light of objects that is to be expected in it, and its noise."""

    levels: F64
    light: float
    sigma: float

    @property
    def blank(self) -> bool:
        """Whether the field holds hardly any light but that of stars."""
        return self.light < max(BLANK * abs(float(median_of_seen(self.levels))), OFFSETS)


@dataclass(frozen=True)
class Background:
    """Light of objects that may be in an exposure's median, electrons, and the noise of the median."""

    light: float
    sigma: float


def background(cells: F64, places: F64, level: float, free: float) -> Background:
    """How much light of objects may hide in the median of what is free.

    ``cells``: between the stars, electrons, NaN where hidden; ``places``: theirs in the field, as in
    ``level_differences``; ``free``: fraction of the field that no object covers. The more a background
    departs from a plane, or slopes more than the sky does, and the more of the field objects cover, the more
    light. ``cells``: (n,); ``places``: (n, 2).
    """
    known, level = np.isfinite(cells), float(np.nan_to_num(level))
    noise = float(np.hypot(OFFSETS, 1.25 * np.sqrt(max(level, 0.0) + READ_NOISE2) / CELL_SIDE))
    sigma = max(MEDIAN * abs(level), 1.0)
    if known.sum() < FEWEST:
        return Background(max(abs(level), noise), sigma)
    design = np.column_stack([np.ones(len(cells)), places])
    left: F64 = cells
    slopes: F64 = np.zeros(2)
    kept = known
    for _ in range(4):
        solution = np.asarray(np.linalg.lstsq(design[kept], cells[kept], rcond=None)[0], float)
        left, slopes = cells - design @ solution, solution[1:]
        spread = max(1.4826 * float(np.median(np.abs(left[kept]))), 1e-3)
        kept = known & (np.abs(left) < 3.0 * spread)
        if kept.sum() < FEWEST:
            break
    uneven = max(scatter(left[known]) - noise, 0.0)
    steep = max(float(np.hypot(*slopes)) - STEEP * abs(level), 0.0)
    return Background(FAINTEST + uneven + steep + CROWDED * (1.0 - free) ** 1.5, sigma)


def weigh_levels(course: LevelCurve, own: Own) -> LevelCurve:
    """Levels of exposures from what skies tell and what they show themselves, each as far as it is sure.

    Their own medians hold light of objects and never too little of it: it is expected to be exponentially
    distributed. The skies' answer has the tails of Student's distribution: it may be wrong altogether. No
    switch: the mean and the standard deviation of the product of both are taken.
    """
    seen = np.isfinite(own.levels)
    if not seen.any():
        return course
    above = float(np.median((own.levels - course.levels)[seen]))  # own constant less that of the skies
    noise = own.sigma
    width = 8.0 * noise + 8.0 * min(own.light, abs(above) + 8.0 * course.sigma)
    low, high = min(above - width, -6.0 * course.sigma), max(above + 6.0 * noise, 6.0 * course.sigma)
    change = np.linspace(low, high, 20_001)
    away = above - change
    # The light has an exponential and the median a normal distribution: their convolution.
    light = -away / own.light + log_ndtr(away / noise - noise / own.light)
    skies = -0.5 * (TAIL + 1.0) * np.log1p((change / course.sigma) ** 2 / (TAIL - 2.0))
    weights = np.exp(light + skies - np.max(light + skies))
    weights /= weights.sum()
    mean = float(weights @ change)
    sigma = float(np.sqrt(weights @ (change - mean) ** 2))
    return LevelCurve(course.levels + mean, max(sigma, noise))


def odd_skies(times: F64, levels: F64) -> NDArray[np.bool_]:
    """Which sky exposures have a level that the others' course in time cannot explain.

    Times in seconds, levels in electrons. Both (n,), as is what is returned.
    """
    middle = abs(float(np.median(levels[np.isfinite(levels)]))) if np.isfinite(levels).any() else 0.0
    return _off_line(times, levels, middle, max(ODD * middle, ODD_ELECTRONS))


def _off_line(times: F64, levels: F64, scale: float, limit: float) -> NDArray[np.bool_]:
    """Which levels lie further than ``limit`` from a line through their middle, no steeper than a sky of a
    level of ``scale`` is."""
    known = np.isfinite(levels)
    if known.sum() < 3:
        return np.zeros(levels.shape, bool)
    first, second = np.triu_indices(int(known.sum()), 1)
    t, e = times[known], levels[known]
    slope = np.median((e[second] - e[first]) / np.where(t[second] == t[first], 1.0, t[second] - t[first]))
    line = levels - np.clip(slope, -FASTEST * scale, FASTEST * scale) * (times - np.median(t))
    return np.asarray(known & (np.abs(line - np.median(line[known])) > limit), bool)


def _design(times: F64, skies: int) -> F64:
    """Columns: a constant, a line in time, and the unknown constant of the objects."""
    middle = times.mean()
    is_object = np.arange(times.size) >= skies
    return np.stack([np.ones(times.size), (times - middle) / 1800.0, is_object.astype(float)], axis=1)


def _solve(
    times: F64, values: F64, design: F64, scale: float, memory: float, swing: float, jitter: float
) -> tuple[float, float, float]:
    """Log likelihood, the objects' constant and its sigma under one set of assumptions."""
    apart = np.abs(times[:, None] - times) / memory
    covariance = (swing * scale) ** 2 * (1 + apart) * np.exp(-apart)
    covariance[np.diag_indices(times.size)] += (jitter * scale) ** 2 + 0.1
    # The slope is known beforehand not to be steeper than some percent in half an hour.
    prior = np.diag([0.0, 1.0 / (0.05 * scale) ** 2, 0.0])
    weight = np.linalg.inv(covariance)
    normal = design.T @ weight @ design + prior
    solution = np.linalg.solve(normal, design.T @ weight @ values)
    residual = values - design @ solution
    fit = float(residual @ weight @ residual + solution @ prior @ solution)
    likelihood = -0.5 * (fit + np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(normal)[1])
    return likelihood, float(solution[2]), float(np.sqrt(np.linalg.inv(normal)[2, 2]))


def level_differences(maps: Sequence[F64], places: F64) -> tuple[F64, NDArray[np.bool_]]:
    """Levels of exposures of one field but for a constant, from maps of their light without stars; and which
    of them show the light of the others: one of another field lacks it.

    ``maps``: for each exposure one row a cell of the field, electrons, NaN where hidden; all exposures show
    the same piece of sky in the same row. ``places`` (cells, 2): position of each cell in the field, of
    the order of 1 and 0 at its middle. The light of the field may vary with the transparency, and each
    exposure may have its own gradient; the level is that at the middle.
    """
    stack = np.array(maps, float)
    # What one exposure alone shows says nothing of the others, and holds it where it begins.
    shown = np.isfinite(stack).sum(axis=0) >= min(2, len(stack))
    if not shown.any():
        return np.zeros(len(stack)), np.ones(len(stack), bool)
    stack, places = stack[:, shown], places[shown]
    smooth = np.column_stack([np.ones(len(places)), places])
    planes = np.column_stack([median_of_seen(stack, axis=1), np.zeros((len(stack), 2))])
    for _ in range(8):
        field = np.nanmedian(stack - planes @ smooth.T, axis=0)
        faint = np.nanpercentile(field, 5)
        found = np.array([_excess(row, field, faint, smooth) for row in stack])
        planes = found[:, :3]
    return np.asarray(planes[:, 0], float), np.abs(found[:, 3]) < UNLIKE


def _excess(row: F64, field: F64, faint: float, smooth: F64) -> F64:
    """Level and slopes of what a map has above the field, outliers left out, and how much more of the field's
    light it shows, relative to that."""
    columns, expected = list(smooth.T), [np.inf, SLOPE, SLOPE]
    if np.nanpercentile(field, 90) - faint > CONTRAST:
        columns.append(field - faint)
        expected.append(CHANGE)
    design = np.stack(columns, axis=1)
    difference = row - field
    kept = np.isfinite(difference)
    if kept.sum() < 3 * len(columns):
        return np.array([np.nanmedian(difference) if kept.any() else 0.0, 0.0, 0.0, 0.0])
    solution: F64 = np.zeros(len(columns))
    prior = np.diag((NOISE / np.array(expected)) ** 2)
    for _ in range(4):
        part = design[kept]
        solution = np.asarray(np.linalg.solve(part.T @ part + prior, part.T @ difference[kept]), float)
        residual = difference - design @ solution
        limit = 2.5 * max(1.4826 * float(np.nanmedian(np.abs(residual[kept]))), 0.05)
        kept = np.asarray(np.isfinite(residual) & (np.abs(residual) < limit))
    return np.append(solution[:3], solution[3:] if solution.size > 3 else 0.0)
