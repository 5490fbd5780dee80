"""Offsets of the readout channels: each readout adds 1-3 electrons to every block of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.frame import F32, F64, U16

Whole = NDArray[np.integer[Any]]

#: Columns per output channel: with 32 outputs, and with 4.
WIDTHS = (64, 512)
#: Rows between those sampled for a column's centre.
SAMPLE = 16
#: Standard deviations beyond which a pixel does not count in its column's mean.
CLIP = 3.0


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
