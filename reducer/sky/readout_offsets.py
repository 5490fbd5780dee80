"""Offsets of readout channels, 1-3 electrons each: from column means, the free sky, the reference pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.instruments.base import Array, Levels
from reducer.keywords import Region
from reducer.sky.objects import BLOCK, scatter
from reducer.types import F32, F64, U16

# --- column means against those of a model ---------------------------------------------------------

Whole = NDArray[np.integer[Any]]
Bool = NDArray[np.bool_]

#: Columns per output channel: with 32 outputs, and with 4.
WIDTHS = (64, 512)
#: Rows between those sampled for a column's centre.
SAMPLE = 16
#: Standard deviations beyond which a pixel does not count in its column's mean.
COLUMN_CLIP = 3.0


@dataclass(frozen=True)
class Columns:
    """Sums of the usable pixels of each column that lie within ``limit`` of its ``centre``, and their number.

    ``limit`` is in the unit of the pixels; all four are (nx,).
    """

    centre: F64
    limit: F64
    total: F64
    count: F64

    @staticmethod
    def of(samples: F32, mask: U16) -> Columns:
        """Sums of nothing yet; ``samples``, ``mask``: of every ``SAMPLE``-th row."""
        centre, width = _centres(samples, mask & dq.UNUSABLE == 0)
        return Columns(centre, width * COLUMN_CLIP, np.zeros(centre.shape), np.zeros(centre.shape))

    def add(self, data: F32, mask: U16) -> None:
        """Add some rows, in place."""
        _add_rows(data, mask, dq.UNUSABLE, self.centre, self.limit, self.total, self.count)

    def means(self) -> F32:
        """The clipped mean of each column, (nx,); NaN where a column has almost no usable pixels."""
        return np.where(self.count >= 10, self.total / np.maximum(self.count, 1), np.nan).astype(np.float32)


def _centres(samples: F32, usable: Bool) -> tuple[F64, F64]:
    """Median and robust standard deviation of each column of samples; zero where almost none is usable."""
    ordered = np.sort(np.where(usable, samples, np.float32(np.inf)).T.copy(), axis=1)
    count = usable.sum(axis=0)
    low, middle, high = (
        np.take_along_axis(ordered, np.minimum(place, samples.shape[0] - 1)[:, None], axis=1)[:, 0]
        for place in (count // 4, count // 2, (3 * count) // 4)
    )
    known = count >= 4
    spread = np.subtract(high, low, out=np.zeros_like(high), where=known)
    return np.where(known, middle, 0.0).astype(float), 0.7413 * spread.astype(float)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_rows(data: F32, mask: U16, unusable: int, centre: F64, limit: F64, total: F64, count: F64) -> None:
    bits = np.uint16(unusable)
    for y in range(data.shape[0]):
        for x in range(data.shape[1]):
            counts = (mask[y, x] & bits == 0) & (abs(data[y, x] - centre[x]) <= limit[x])
            total[x] += data[y, x] if counts else 0.0
            count[x] += 1.0 if counts else 0.0


def offsets_against(profile: F32 | F64, reference: F32 | F64, first_column: int = 0) -> F32:
    """The offset of each column's channel: what a profile has that its model has not.

    ``profile`` and ``reference``: column means of one exposure and of its model. ``first_column``: place of
    the first column on the full array. Returns electrons, (nx,), with zero mean; a channel with too few
    columns that have a mean gets zero.
    """
    difference = profile - reference
    difference = difference - np.nanmean(difference) if np.isfinite(difference).any() else difference
    channels = (np.arange(profile.size) + first_column) // find_width(difference, first_column)
    offsets = _channel_values(difference, channels)
    centred: F32 = (offsets - offsets.mean()).astype(np.float32)
    return centred


def find_width(difference: F32 | F64, first_column: int = 0, step: int = 1) -> int:
    """Columns per channel: 64 if blocks of 64 differ within those of 512 by more than columns scatter.

    ``step``: columns between the entries of ``difference``. ``difference``: (n,) electrons.
    """
    place = np.arange(difference.size) * step + first_column
    fine, coarse = (_channel_values(difference, place // width) for width in WIDTHS)
    left = (difference - fine)[np.isfinite(difference)]
    scatter = (left.std() if left.size else 0.0) / np.sqrt(WIDTHS[0] / step)
    return WIDTHS[0] if np.std(fine - coarse) > 2.0 * scatter else WIDTHS[1]


def _channel_values(difference: F32 | F64, channels: Whole) -> F64:
    """The mean of each column's channel; zero where it has too few columns."""
    values = np.zeros(difference.size)
    for channel in np.unique(channels):
        inside = channels == channel
        known = difference[inside][np.isfinite(difference[inside])]
        if known.size >= 4:
            values[inside] = np.median(known)
    return values


# --- the free sky of one exposure, told from gradients and known light -----------------------------

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
    """Cells from blocks of 4x4 pixels and which of them are free.

    ``means``: (ny, nx) electrons, ``free`` as well.
    """
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
    ``light``: by array (rows, columns) of cells, electrons.
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
    """The offset of each pixel column, with zero mean, from those of channels that begin at ``first``.

    ``found``: (channels,); returns (nx,), electrons.
    """
    last_cell = strips.values.shape[1] * STEP - 1
    channel = _channel_at(np.minimum(np.arange(strips.where.shape[1]), last_cell), strips, width)
    offsets = found[first + channel]
    centred: F32 = (offsets - offsets.mean()).astype(np.float32)
    return centred


def in_cells(offsets: F32, strips: Strips) -> F64:
    """Offsets of pixel columns as those of columns of cells.

    ``offsets``: (nx,); returns (columns,), electrons.
    """
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


# --- dark reference pixels at the edge, no light being in the way ----------------------------------

#: Columns of the groups whose mean is taken: those of the narrowest channel.
GROUP = WIDTHS[0]
#: Standard deviations beyond which a reference pixel does not count.
BORDER_CLIP = 4.0
#: Fewest sky exposures by which reference pixels are judged, and how much smaller than the offsets
#: themselves their departure from these has to be.
FEWEST_SKIES, AGREEMENT = 3, 0.6

Offsets = Mapping[int, F32]
ReferencePixels = Mapping[int, F64]


def mean_reference_pixels(raw: F32, region: Region, array: Array, levels: Levels) -> F64:
    """The clipped mean of the reference rows for each 64 columns, electrons.

    Empty unless all columns and some of those rows were read, and are numbers.
    ``raw``: (ny, nx) counts; returns (nx / 64,).
    """
    row = np.arange(region.y1, region.y1 + raw.shape[0])
    height, width = array.shape
    rows = raw[(row < array.reference_pixels) | (row >= height - array.reference_pixels)]
    if not rows.shape[0] or raw.shape[1] != width or not np.isfinite(rows).all():
        return np.empty(0)
    groups = rows.reshape(rows.shape[0], -1, GROUP).swapaxes(0, 1).reshape(-1, rows.shape[0] * GROUP)
    middle = np.median(groups, axis=1, keepdims=True)
    away = np.abs(groups - middle)
    kept = away <= BORDER_CLIP * 1.4826 * np.median(away, axis=1, keepdims=True) + 1e-6
    counts = np.where(kept, groups, 0.0).sum(axis=1, dtype=float) / kept.sum(axis=1)
    electrons: F64 = levels.electrons(1.0) * counts
    return electrons


@dataclass(frozen=True)
class Reference:
    """What the reference pixels show of themselves, by array, and the noise of one exposure's.

    ``fixed``: what they have above the offsets of the skies, electrons, for each 64 columns. ``noise``: of
    a channel. ``doubt``: variance of what is fixed, over that of one exposure's noise.
    """

    fixed: Mapping[int, F64]
    noise: float
    doubt: float


def judge_reference_pixels(
    all_reference_pixels: Sequence[ReferencePixels], offsets: Sequence[Offsets], width: int
) -> Reference | None:
    """Compare reference pixels with the offsets found in sky exposures; None where they do not follow them.

    ``all_reference_pixels``: of ``mean_reference_pixels`` by array; ``offsets``: electrons for each column.
    """
    arrays = [array for array in offsets[0] if all(_known(each, array) for each in all_reference_pixels)]
    if len(all_reference_pixels) < FEWEST_SKIES or not arrays:
        return None
    away = {array: _above(all_reference_pixels, offsets, array) for array in arrays}
    fixed = {array: each.mean(axis=0) for array, each in away.items()}
    left = {array: each - fixed[array] for array, each in away.items()}
    own = [np.array([_channel_means(each[array], width) for each in offsets]) for array in arrays]
    noise = _rms([_grouped(each, width) for each in left.values()])
    size = _rms([each - each.mean(axis=0) for each in own])
    if noise > AGREEMENT * size:
        return None
    unsure = _rms(list(left.values())) / np.sqrt(len(all_reference_pixels) - 1)
    believed, part = _believe(fixed, unsure)
    return Reference(
        believed,
        max(noise * np.sqrt(len(all_reference_pixels) / (len(all_reference_pixels) - 1)), 1e-3),
        part / len(all_reference_pixels),
    )


def _above(all_reference_pixels: Sequence[ReferencePixels], offsets: Sequence[Offsets], array: int) -> F64:
    """What the reference pixels of each exposure have above its offsets, but for a constant."""
    away = np.array(
        [
            reference_pixels[array] - _channel_means(each[array], GROUP)
            for reference_pixels, each in zip(all_reference_pixels, offsets, strict=True)
        ]
    )
    return np.asarray(away - np.median(away, axis=1, keepdims=True), float)


def _believe(fixed: Mapping[int, F64], unsure: float) -> tuple[dict[int, F64], float]:
    """What is taken for the reference pixels' own, and the part of it that is not noise.

    All of it where it stands out, as on a bright streak; of the rest as much as it is more than noise.
    """
    clear = {array: np.abs(each) > BORDER_CLIP * unsure for array, each in fixed.items()}
    rest = np.concatenate([each[~clear[array]] for array, each in fixed.items()])
    part = _part(rest, unsure**2) if rest.size else 1.0
    return {array: np.where(clear[array], each, part * each) for array, each in fixed.items()}, part


def weigh_in(
    offsets: Sequence[Offsets],
    all_reference_pixels: Sequence[ReferencePixels],
    reference: Reference,
    width: int,
) -> list[dict[int, F32]]:
    """Offsets of exposures of a field, drawn to what their reference pixels show as far as these know better.

    What all exposures have in common and what is each one's own are weighed separately: the errors of
    each are what the departures show beyond the noise of the reference pixels.
    """
    arrays = [
        array
        for array in reference.fixed
        if all(_known(each, array) for each in all_reference_pixels) and array in offsets[0]
    ]
    made = [dict(each) for each in offsets]
    if len(offsets) < FEWEST_SKIES or not arrays:
        return made
    away = {
        array: np.array(
            [
                _grouped(reference_pixels[array] - reference.fixed[array], width)
                - _channel_means(each[array], width)
                for reference_pixels, each in zip(all_reference_pixels, offsets, strict=True)
            ]
        )
        for array in arrays
    }
    common = {array: each.mean(axis=0) for array, each in away.items()}
    noise2 = reference.noise**2
    of_mean = noise2 * (1.0 / len(offsets) + reference.doubt)
    shared = _part(np.concatenate(list(common.values())), of_mean)
    own = _part(np.concatenate([(away[array] - common[array]).ravel() for array in arrays]), noise2)
    for place, each in enumerate(made):
        for array in arrays:
            change = shared * common[array] + own * (away[array][place] - common[array])
            spread = np.repeat(change, each[array].size // change.size)
            each[array] = (each[array] + spread - spread.mean()).astype(np.float32)
    return made


def _rms(parts: Sequence[F64]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate([part.ravel() for part in parts])))))


def _part(departures: F64, noise2: float) -> float:
    """The part of departures that is not noise: what they are to be multiplied by."""
    variance = float(np.mean(departures**2))
    return max(variance - noise2, 0.0) / max(variance, 1e-9)


def _known(all_reference_pixels: ReferencePixels, array: int) -> bool:
    return array in all_reference_pixels and all_reference_pixels[array].size > 0


def _grouped(reference_pixels: F64, width: int) -> F64:
    """Means of groups as those of channels, with zero mean."""
    means: F64 = reference_pixels.reshape(*reference_pixels.shape[:-1], -1, width // GROUP).mean(axis=-1)
    return np.asarray(means - means.mean(axis=-1, keepdims=True), float)


def _channel_means(offsets: F32, width: int) -> F64:
    means: F64 = offsets.reshape(-1, width).mean(axis=1, dtype=float)
    return np.asarray(means - means.mean(), float)
