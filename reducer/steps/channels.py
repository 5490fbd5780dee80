"""Offsets of the readout channels: each readout adds 1-3 electrons to every block of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.frame import F32, F64, U16

Bool = NDArray[np.bool_]
Whole = NDArray[np.integer[Any]]

#: Columns per output channel: with 32 outputs, and with 4.
WIDTHS = (64, 512)
#: Rows between those sampled for a column's centre.
SAMPLE = 8
#: Standard deviations beyond which a pixel does not count in its column's mean.
CLIP = 3.0
#: Fewest pixels in a channel for its offset to be measured.
FEWEST = 4000
#: Pixels along a side of the blocks, and blocks in a strip, in which single exposures are measured.
BLOCK, STRIP = 4, 16
#: Expected size of an offset, electrons.
TYPICAL = 2.0


def column_means(data: F32, mask: U16) -> F32:
    """The clipped mean of the usable pixels of each column, (nx,); NaN where a column has almost none."""
    usable = mask & dq.UNUSABLE == 0
    centre, width = _centres(np.ascontiguousarray(data[::SAMPLE].T), np.ascontiguousarray(usable[::SAMPLE].T))
    total, count = _sums(data, usable, centre, width * CLIP)
    return np.where(count >= 10, total / np.maximum(count, 1), np.nan).astype(np.float32)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _centres(samples: F32, usable: F32) -> tuple[F64, F64]:
    """Median and robust standard deviation of each row of samples."""
    columns = samples.shape[0]
    centre, width = np.zeros(columns), np.zeros(columns)
    for column in range(columns):
        values = np.sort(samples[column][usable[column]])
        if values.size >= 4:
            centre[column] = values[values.size // 2]
            width[column] = 0.7413 * (values[(3 * values.size) // 4] - values[values.size // 4])
    return centre, width


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sums(data: F32, usable: U16, centre: F64, limit: F64) -> tuple[F64, F64]:
    total, count = np.zeros(data.shape[1]), np.zeros(data.shape[1])
    for y in range(data.shape[0]):
        for x in range(data.shape[1]):
            if usable[y, x] and abs(data[y, x] - centre[x]) <= limit[x]:
                total[x] += data[y, x]
                count[x] += 1.0
    return total, count


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

    ``step``: columns between the entries of ``difference``.
    """
    place = np.arange(difference.size) * step + first_column
    fine, coarse = (_channel_values(difference, place // width) for width in WIDTHS)
    scatter = np.nanstd(difference - fine) / np.sqrt(WIDTHS[0] / step)
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


# --- one exposure by itself --------------------------------------------------------------------------


def fit_offsets(means: F32, free: Bool, width: int, first_column: int = 0, degree: int = 1) -> F32:
    """Offsets of the channels in an exposure whose background is otherwise smooth.

    ``means``: electrons in blocks of 4x4 pixels; ``free``: blocks that show sky. ``width``: columns of the
    array; ``first_column``: place of the first one on the full array. A polynomial of the total ``degree`` in
    x and y and the offsets are fitted together, without what deviates. Offsets are expected to be of the
    size ``TYPICAL``, so that what could be either is left to the polynomial. A channel with too few
    free pixels keeps its offset, returned as zero. Returns electrons per column, (width,), of zero mean.
    """
    values, weights = _strips(means, free)
    rows, columns = values.shape
    smooth = _surface(rows, columns, degree)
    place = np.arange(columns) * BLOCK + first_column
    kept = weights.ravel() > 0.1
    if kept.sum() < 4 * smooth.shape[1]:
        return np.zeros(width, np.float32)
    rough = values.ravel() - smooth @ _solve(
        smooth[kept], values.ravel()[kept], weights.ravel()[kept], 0.0, 0
    )
    profile = _column_medians(np.where(kept, rough, np.nan).reshape(rows, columns))
    channels = place // find_width(profile, first_column, BLOCK)
    inside = np.tile((channels[:, None] == np.unique(channels)).astype(float), (rows, 1))
    enough = (inside * (weights.ravel() * STRIP * BLOCK**2)[:, None]).sum(axis=0) > FEWEST
    design = np.hstack([smooth, inside[:, enough]])
    solution = _clipped_fit(design, values.ravel(), weights.ravel() * kept, smooth.shape[1])
    offsets = np.zeros(enough.size)
    offsets[enough] = solution[smooth.shape[1] :] - np.mean(solution[smooth.shape[1] :])
    column = np.searchsorted(
        np.unique(channels), (np.arange(width) + first_column) // _width_of(channels, place)
    )
    spread: F32 = offsets[np.minimum(column, offsets.size - 1)].astype(np.float32)
    return spread


def _column_medians(values: F64) -> F64:
    """The median of each column's numbers, NaN where it has none."""
    known = np.isfinite(values).any(axis=0)
    medians = np.full(values.shape[1], np.nan)
    medians[known] = np.nanmedian(values[:, known], axis=0)
    return medians


def _width_of(channels: Whole, place: Whole) -> int:
    return WIDTHS[0] if np.array_equal(channels, place // WIDTHS[0]) else WIDTHS[1]


def _strips(means: F32, free: Bool) -> tuple[F64, F64]:
    """Means over strips of 16 blocks along the columns, and the fraction of each that is free."""
    rows = means.shape[0] // STRIP
    weight = free[: rows * STRIP].reshape(rows, STRIP, -1).sum(axis=1, dtype=float)
    total = np.where(free, means, 0.0)[: rows * STRIP].reshape(rows, STRIP, -1).sum(axis=1, dtype=float)
    return total / np.maximum(weight, 1.0), weight / STRIP


def _surface(rows: int, columns: int, degree: int) -> F64:
    """Legendre polynomials of x and y up to a total degree, (rows*columns, terms)."""
    y = np.polynomial.legendre.legvander(np.linspace(-1, 1, rows), degree)
    x = np.polynomial.legendre.legvander(np.linspace(-1, 1, columns), degree)
    terms = [np.outer(y[:, j], x[:, i]).ravel() for j in range(degree + 1) for i in range(degree + 1 - j)]
    return np.stack(terms, axis=1)


def _clipped_fit(design: F64, values: F64, weights: F64, free: int) -> F64:
    """A weighted fit repeated without the points that deviate by more than ``CLIP`` standard deviations."""
    kept: Bool = np.asarray(weights > 0)
    solution: F64 = np.zeros(design.shape[1])
    for _ in range(4):
        noise = 1.0
        if solution.any():
            residual = values - design @ solution
            noise = max(1.4826 * float(np.median(np.abs(residual[kept]))), 1e-6)
            kept = np.asarray((weights > 0) & (np.abs(residual) * np.sqrt(weights) < CLIP * noise))
        ridge = (noise / TYPICAL) ** 2 if solution.any() else 1e-3
        solution = _solve(design[kept], values[kept], weights[kept], ridge, free)
    return solution


def _solve(design: F64, values: NDArray[np.floating[Any]], weights: F64, ridge: float, free: int) -> F64:
    """Least squares in which the parameters after the first ``free`` ones are drawn to zero."""
    normal = design.T @ (design * weights[:, None])
    normal[range(free, design.shape[1]), range(free, design.shape[1])] += ridge
    normal[range(design.shape[1]), range(design.shape[1])] += 1e-9
    solution: F64 = np.linalg.solve(normal, design.T @ (values * weights))
    return solution
