"""Offsets of the readout channels: each readout adds 1-3 electrons to every block of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reducer import dq
from reducer.types import F32, F64, U16

Whole = NDArray[np.integer[Any]]
Bool = NDArray[np.bool_]

#: Columns per output channel: with 32 outputs, and with 4.
WIDTHS = (64, 512)
#: Rows between those sampled for a column's centre.
SAMPLE = 16
#: Standard deviations beyond which a pixel does not count in its column's mean.
CLIP = 3.0


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
        return Columns(centre, width * CLIP, np.zeros(centre.shape), np.zeros(centre.shape))

    def add(self, data: F32, mask: U16) -> None:
        """Add some rows, in place."""
        _add(data, mask, dq.UNUSABLE, self.centre, self.limit, self.total, self.count)

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
def _add(data: F32, mask: U16, unusable: int, centre: F64, limit: F64, total: F64, count: F64) -> None:
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

    ``step``: columns between the entries of ``difference``.
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
